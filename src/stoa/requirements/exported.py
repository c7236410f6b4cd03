"""The tables of requirements that a project's export contains: the declarations, not what end users connected."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import SECRET, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="requirements",
        left_out={"secret": SECRET},
        to_fill_in="CASE WHEN t.secret IS NOT NULL THEN 'requirement ' || t.name || ': its client secret' END",
    ),
)

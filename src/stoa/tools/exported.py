"""What an export of a project holds of tools."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import SECRET, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="tools",
        left_out={"secrets": SECRET, "secret_names": "names the secrets that are left out"},
        to_fill_in="CASE WHEN t.secrets IS NOT NULL THEN 'tool ' || t.name || ': its secrets '"
        " || array_to_string(t.secret_names, ', ') END",
    ),
)

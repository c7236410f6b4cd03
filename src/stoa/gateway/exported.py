"""The tables of models in an export of a project: its own models, their connections, and the lines of the bill.

The lines are exported because a run's usage is the sum of its lines, which the doctor checks, and for the project's
reports. They count towards no limit of a key, because limits have separate sums.
"""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import SECRET, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="connections",
        left_out={"secret": SECRET},
        to_fill_in="CASE WHEN t.secret IS NOT NULL THEN 'connection ' || t.name || ': its credential' END",
    ),
    Exported(table="models"),
    Exported(table="model_calls", renumbered="id"),
)

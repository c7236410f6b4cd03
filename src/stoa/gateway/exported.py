"""What an export of a project holds of models: its own and their connections, and the lines of the bill.

The lines are exported because a run's usage is the sum of its lines, which the doctor checks, and because reports of
the project go on. They count against no limit of a key: those have sums of their own.
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

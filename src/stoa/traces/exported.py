"""What an export of a project holds of traces: spans that other programs sent. Those of runs are in the journals."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (Exported(table="traces"), Exported(table="spans"))

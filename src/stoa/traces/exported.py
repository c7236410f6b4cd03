"""What a project's export holds of traces: spans that other programs sent. Runs are exported with their journals."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (Exported(table="traces"), Exported(table="spans"))

"""What an export of a project holds of memories and memory stores."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(table="memories"),
    Exported(table="memory_items"),
    Exported(table="memory_stores"),
    Exported(table="memory_files"),
)

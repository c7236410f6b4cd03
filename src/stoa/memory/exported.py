"""The tables of memories and memory stores that a project's export contains."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(table="memories"),
    Exported(table="memory_items"),
    Exported(table="memory_stores"),
    Exported(table="memory_files"),
)

"""What every reader gives: Markdown and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

Report: TypeAlias = Callable[[int, int], None]
"""Told how far a reader is: pages done, pages in all."""
LIBRARIES: Final = {name: f"stoa.documents.converting.{name}" for name in ("documents", "pdf", "pictures")}
"""What is loaded by the files that need it. The answer says which, so that the process that readers are forked from can have it ready."""


def unheard(_done: int, _total: int) -> None:
    """Nobody asked how far it is."""


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; None where the format has no pages. `part` is the path inside an archive of documents. `sheets`: it is
    a workbook, whose headings name its sheets."""

    markdown: str
    number: int | None
    part: str | None = None
    sheets: bool = False

"""The result of every reader: Markdown with its position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

Report: TypeAlias = Callable[[int, int], None]
"""Called with progress: pages done, pages in all."""
LIBRARIES: Final = {
    name: f"stoa.documents.converting.{name}"
    for name in ("data", "library", "mail", "office", "opendocument", "pdf", "pictures", "web")
}
"""Modules that only some files need. A reader's answer names those it loaded, so that the zygote can load them in
advance."""


def no_report(_done: int, _total: int) -> None:
    """For callers that want no progress."""


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; None where the format has no pages. `part` is the path inside an archive, or the name of
    a mail's attachment. `sheets`: the headings are the names of a workbook's sheets."""

    markdown: str
    number: int | None
    part: str | None = None
    sheets: bool = False

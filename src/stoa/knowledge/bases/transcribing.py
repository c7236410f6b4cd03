"""Pages that hold no text, read by a model that sees: drawn one by one, sent, and kept before the next, so that nobody pays twice.

What a page said is a row of its own, written as soon as it is known: a worker that dies after the seventh page of twenty leaves thirteen.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stoa.db import Database
from stoa.db.internal import internal_statement
from stoa.knowledge.bases.ports import Transcriber, TranscriptionError
from stoa.knowledge.bases.store import SQL
from stoa.knowledge.bases.types import Item
from stoa.knowledge.chunking import passages
from stoa.knowledge.converting import Converter
from stoa.knowledge.types import ConversionError, Converted

PAGES_MAX: Final = 500
"""Of one item that are sent: a model reads a page in seconds, and every page costs money."""
AT_ONCE_MAX: Final = 4
"""Of all items of this node."""
PICTURE_BYTES_MAX: Final = 10 * 2**20
NAMED_MAX: Final = 10
_HEAD_BYTES: Final = 16


class Superseded(Exception):
    """The item is not this worker's any more."""


@dataclass(frozen=True, slots=True)
class _Page:
    text: str
    complete: bool


class Transcribing:
    """`transcriber` is None where the operator has named no model; then pages without text are only named."""

    def __init__(self, database: Database, converter: Converter, transcriber: Transcriber | None) -> None:
        self._database = database
        self._converter = converter
        self._transcriber = transcriber
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    @property
    def wanted(self) -> bool:
        return self._transcriber is not None

    async def picture(self, item: Item, path: Path) -> Converted | None:
        """A file that is a picture as a document of one page still to be read; None for any other, and where no model is there to read it."""
        kind = await asyncio.to_thread(_picture_type, path) if self.wanted else None
        if kind is None:
            return None
        if item.size > PICTURE_BYTES_MAX:
            raise ConversionError("too_large", f"{item.name} is a picture of {item.size >> 20} MiB; at most {PICTURE_BYTES_MAX >> 20} MiB are read.")
        return Converted((), 1, (), (1,))

    async def fill(
        self, item: Item, fence: Sequence[object], path: Path, found: Converted, characters_max: int, told: Callable[[int], None]
    ) -> Converted:
        """The same with what stands on its blank pages; `told` how many of them are done. Pages that cannot be read are named in warnings.

        Raises TranscriptionError where nothing at all could be read, Superseded when the item is somebody else's.
        """
        if not found.blank or self._transcriber is None:
            return found
        wanted, left = found.blank[:PAGES_MAX], found.blank[PAGES_MAX:]
        pages = await self._remembered(item, self._transcriber)
        pages = {number: page for number, page in pages.items() if number in wanted}
        failed: dict[int, TranscriptionError] = {}
        told(len(pages))
        kind = await asyncio.to_thread(_picture_type, path)
        try:
            async with asyncio.TaskGroup() as group:
                for number in wanted:
                    if number not in pages:
                        group.create_task(self._page(item, fence, path, kind, number, pages, failed, told), name=f"item {item.id}: page {number}")
        except ExceptionGroup as several:  # The item is lost, or the database away: one reason is enough.
            raise several.exceptions[0] from several
        if failed and not found.passages and not any(page.text for page in pages.values()):
            raise failed[min(failed)]
        return await asyncio.to_thread(_merged, found, pages, failed, left, characters_max)

    async def _page(
        self, item: Item, fence: Sequence[object], path: Path, kind: str | None, number: int, pages: dict[int, _Page], failed: dict[int, TranscriptionError],
        told: Callable[[int], None],
    ) -> None:  # fmt: skip
        assert self._transcriber is not None
        try:
            async with self._turns:
                data = await asyncio.to_thread(path.read_bytes) if kind else await self._converter.render(path, number, name=item.name)
                read = await self._transcriber.transcribe(item.name, kind or "image/png", data)
        except ConversionError as error:
            failed[number] = TranscriptionError(error.code, error.message, retryable=False)
        except TranscriptionError as error:
            failed[number] = error
        else:
            text = read.text.replace("\x00", "").encode("utf-8", "replace").decode()
            async with internal_statement(self._database) as tx:
                if await tx.fetchval(
                    SQL.insert_transcript, *fence, item.sha256, number, self._transcriber.model, text, read.complete, read.prompt_tokens,
                    read.completion_tokens,
                ) is None:  # fmt: skip
                    raise Superseded
            pages[number] = _Page(text, read.complete)
        told(len(pages) + len(failed))

    async def _remembered(self, item: Item, transcriber: Transcriber) -> dict[int, _Page]:
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.transcripts, item.org_id, item.project_id, item.sha256, transcriber.model)
        return {row["page"]: _Page(row["text"], row["complete"]) for row in rows}


def _merged(
    found: Converted, pages: Mapping[int, _Page], failed: Mapping[int, TranscriptionError], left: Sequence[int], characters_max: int
) -> Converted:
    read = [replace(one, ocr=True) for number, page in pages.items() for one in passages(page.text, number, None, characters_max)]
    together = sorted([*found.passages, *read], key=lambda one: one.page or 0)
    empty = [number for number, page in pages.items() if not page.text]
    warnings = [f"Page {number} could not be read by OCR ({error.code}): {error.message}" for number, error in sorted(failed.items())[:NAMED_MAX]]
    if len(failed) > NAMED_MAX:
        warnings.append(f"{len(failed) - NAMED_MAX} more pages could not be read by OCR; process the item again to try them once more.")
    for numbers, what in (
        (sorted(empty), "hold no text, also not in their picture"), (list(left), f"hold no text and were not read: at most {PAGES_MAX} are"),
        (sorted(number for number, page in pages.items() if not page.complete), "were longer than OCR reads; their ends are missing"),
    ):  # fmt: skip
        if numbers:
            named = ", ".join(map(str, numbers[:NAMED_MAX])) + (" …" if numbers[NAMED_MAX:] else "")
            warnings.append(f"{len(numbers)} of {found.pages} pages {what}: {named}.")
    return Converted(tuple(together), found.pages, (*found.warnings, *warnings))


def _picture_type(path: Path) -> str | None:
    """By its first bytes."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None

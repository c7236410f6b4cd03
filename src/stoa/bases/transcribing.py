"""OCR: pages without text are rendered, sent to a model with vision, and stored with their line of the bill one by
one, so that no page is paid for twice.

The text of each page is a row, written as soon as it is known: after a crash on the eighth page of twenty, thirteen
remain.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from stoa.bases.ports import Transcriber, Transcript, TranscriptionError, Used
from stoa.bases.store import SQL
from stoa.bases.types import Item
from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.db.leases import Superseded
from stoa.documents import ConversionError, Converted, Converter, OcrTarget, Passage, passages

PAGES_MAX: Final = 500
"""Maximum pages per item: a model reads a page in seconds, and every page costs money."""
AT_ONCE_MAX: Final = 4
"""Concurrent pages of all items of this node."""
NAMED_MAX: Final = 10
UNPAID: Final = frozenset({"spending_limit_reached", "price_unknown"})
"""Codes of a reached spending limit or an unknown price."""


_log = structlog.get_logger("stoa.documents.transcribing")


@dataclass(frozen=True, slots=True)
class _Page:
    text: str
    complete: bool


@dataclass(slots=True)
class _Work:
    """An item's pages in progress: those that were read and those that failed, by the number of their OCR target."""

    item: Item
    path: Path
    targets: Sequence[OcrTarget]
    on_progress: Callable[[int], None]
    pages: dict[int, _Page] = field(default_factory=dict[int, _Page])
    failed: dict[int, TranscriptionError] = field(default_factory=dict[int, TranscriptionError])
    left: bool = False
    """The caller was cancelled; calls in progress complete."""

    def report(self) -> None:
        self.on_progress(
            len(
                {
                    target.place
                    for target in self.targets
                    if target.number not in self.pages and target.number not in self.failed
                }
            )
        )


class Transcribing:
    """`transcriber` is None where the operator has named no model; then pages without text are only named."""

    def __init__(self, database: Database, converter: Converter, transcriber: Transcriber | None) -> None:
        self._database = database
        self._converter = converter
        self._transcriber = transcriber
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._calls: set[asyncio.Task[None]] = set()
        self._leaving = False

    @property
    def wanted(self) -> bool:
        return self._transcriber is not None

    async def drain(self, seconds_max: float) -> None:
        """Starts no more pages and waits for the running ones up to this time, so that the next claim need not pay for
        them again."""
        self._leaving = True
        if self._calls:
            await asyncio.wait(self._calls, timeout=seconds_max)

    async def close(self) -> None:
        """Cancels the calls that are still running."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def fill(
        self, item: Item, path: Path, found: Converted, characters_max: int, on_progress: Callable[[int], None]
    ) -> Converted:
        """The document with the text of its OCR targets. `on_progress` is called with the number of pages that are
        left. Pages that cannot be read are named in warnings.

        Raises TranscriptionError where nothing at all could be read, and where nobody pays for what is left of a
        content that does not answer yet: what was read is kept. Raises Superseded when the item is gone, or has another
        content.
        """
        if not found.ocr_targets or self._transcriber is None:
            return found
        wanted, left = found.ocr_targets[:PAGES_MAX], found.ocr_targets[PAGES_MAX:]
        work = _Work(
            item, path, found.ocr_targets, on_progress, await self._remembered(item, self._transcriber, wanted)
        )
        work.report()
        try:
            async with asyncio.TaskGroup() as group:
                for target in wanted:
                    if target.number not in work.pages:
                        group.create_task(
                            self._page(work, target.number, self._transcriber),
                            name=f"item {item.id}: page {target.number} waits",
                        )
        except ExceptionGroup as several:  # The item is lost, or the database away: one reason is enough.
            raise several.exceptions[0] from several
        unpaid = [error for error in work.failed.values() if error.code in UNPAID]
        if unpaid and item.served_sha256 != item.sha256:
            raise _unpaid(work, len(wanted), unpaid[-1])
        if work.failed and not found.passages and not any(page.text for page in work.pages.values()):
            raise work.failed[min(work.failed)]
        return await asyncio.to_thread(_merged, found, work, left, characters_max)

    async def _page(self, work: _Work, number: int, transcriber: Transcriber) -> None:
        """A call in progress always completes, is billed and, if the item still has this content, stored, also when the
        work on its item has ended."""
        await self._turns.acquire()
        if self._leaving:
            await asyncio.Event().wait()  # For the end of this node's work.
        call = asyncio.create_task(self._call(work, number, transcriber), name=f"item {work.item.id}: page {number}")
        self._calls.add(call)
        call.add_done_callback(partial(self._called, work))
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            work.left = True
            raise

    def _called(self, work: _Work, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        # Released after the payment, so that the next page is requested only after this one was billed.
        self._turns.release()
        if (
            work.left
            and not call.cancelled()
            and (error := call.exception()) is not None
            and not isinstance(error, Superseded)
        ):
            _log.error("a page that nobody waits for was lost", item_id=str(work.item.id), exc_info=error)

    async def _call(self, work: _Work, number: int, transcriber: Transcriber) -> None:
        try:
            work.pages[number] = await self._asked(work, number, transcriber)
        except ConversionError as error:
            work.failed[number] = TranscriptionError(error.code, error.message, retryable=False)
        except TranscriptionError as error:
            work.failed[number] = error
        work.report()

    async def _asked(self, work: _Work, number: int, transcriber: Transcriber) -> _Page:
        async with internal_statement(self._database) as tx:
            await transcriber.check_payer(tx, work.item)
        picture = await self._converter.render(work.path, number, name=work.item.name, mime_type=work.item.mime_type)
        try:
            read = await transcriber.transcribe(work.item.name, picture.mime_type, picture.data)
        except TranscriptionError as error:
            if error.used is not None:
                await self._pay(work, number, transcriber, error.used, None)
            raise
        read = replace(read, text=read.text.replace("\x00", "").encode("utf-8", "replace").decode())
        await self._pay(work, number, transcriber, read.used, read)
        return _Page(read.text, read.complete)

    async def _pay(
        self, work: _Work, number: int, transcriber: Transcriber, used: Used, read: Transcript | None
    ) -> None:
        """Stores a call's line of the bill and, in the same transaction, its text if the item still has this content.
        The call is billed in any case. Raises Superseded."""
        item = work.item
        async with internal(self._database) as tx:
            base = await tx.fetchrow(
                SQL.share_base, item.org_id, item.knowledgebase_id
            )  # Held: a deletion finds the line, or we find no base.
            call_id = await transcriber.bill(tx, item, item.knowledgebase_id if base is not None else None, used)
            kept = (
                read is None
                or await tx.fetchval(
                    SQL.insert_transcript,
                    item.org_id,
                    item.id,
                    item.sha256,
                    number,
                    transcriber.model,
                    read.text,
                    read.complete,
                    used.prompt_tokens,
                    used.completion_tokens,
                    call_id,
                )
                is not None
            )
        if not kept:
            raise Superseded

    async def _remembered(
        self, item: Item, transcriber: Transcriber, wanted: Collection[OcrTarget]
    ) -> dict[int, _Page]:
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.transcripts, item.org_id, item.project_id, item.sha256, transcriber.model)
        read = {row["page"]: _Page(row["text"], row["complete"]) for row in rows}
        return {target.number: read[target.number] for target in wanted if target.number in read}


def _unpaid(work: _Work, wanted: int, reason: TranscriptionError) -> TranscriptionError:
    kept = (
        f"{len(work.pages)} of {wanted} pages without text are read and kept; for the others, process the item again "
        "later, or with another key."
    )
    return TranscriptionError(reason.code, f"{work.item.name}: {reason.message} {kept}", retryable=False)


def _merged(found: Converted, work: _Work, left: Sequence[OcrTarget], characters_max: int) -> Converted:
    targets = {target.number: target for target in found.ocr_targets}
    read = [
        one for number, page in sorted(work.pages.items()) for one in _cut(page.text, targets[number], characters_max)
    ]
    together = [*found.passages, *read]
    if found.pages is not None:  # What has no pages has its pictures behind its text.
        together.sort(key=lambda one: one.page or 0)
    failed = sorted(work.failed.items())
    warnings = [
        f"{_named(targets[number])} could not be read by OCR ({error.code}): {error.message}"
        for number, error in failed[:NAMED_MAX]
    ]
    if len(failed) > NAMED_MAX:
        warnings.append(
            f"{len(failed) - NAMED_MAX} more pages could not be read by OCR; "
            "process the item again to try them once more."
        )
    of = f" of {found.pages}" if found.pages is not None else ""
    for numbers, what in (
        ([number for number, page in work.pages.items() if not page.text], "hold no text, also not in their picture"),
        ([target.number for target in left], f"hold no text and were not read: at most {PAGES_MAX} are"),
        (
            [number for number, page in work.pages.items() if not page.complete],
            "were longer than OCR reads; their ends are missing",
        ),
    ):
        if numbers:
            named = ", ".join(_short(targets[number]) for number in sorted(numbers)[:NAMED_MAX]) + (
                " …" if numbers[NAMED_MAX:] else ""
            )
            warnings.append(f"{len(numbers)}{of} pages {what}: {named}.")
    return Converted(tuple(together), found.pages, (*found.warnings, *warnings))


def _cut(text: str, target: OcrTarget, characters_max: int) -> list[Passage]:
    cut = [replace(one, ocr=True) for one in passages(text, target.page, None, characters_max)]
    return (
        cut
        if target.part is None
        else [replace(one, heading=f"{target.part}: {one.heading}" if one.heading else target.part) for one in cut]
    )


def _named(target: OcrTarget) -> str:
    """At the beginning of a sentence."""
    place = f"Page {target.page}" if target.page is not None else f"Picture {target.number}"
    if target.part is None:
        return place
    return f"{target.part}, {place.lower()}" if target.page is not None else target.part


def _short(target: OcrTarget) -> str:
    return str(target.page) if target.part is None and target.page is not None else _named(target)

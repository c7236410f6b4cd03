"""Takes items up and brings them into the index: read → cut → embed what is new → swap, in one transaction.

The item's row is its job: claimed with SKIP LOCKED, leased, fenced by version, attempt and node. A worker that is superseded (the
item was replaced, deleted, or taken up elsewhere) finds no row to renew, and stops (docs/decisions/0011).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import structlog

from stoa.bases import rules, store
from stoa.bases.deletions import Deletions
from stoa.bases.metrics import IngestionMetrics
from stoa.bases.ports import Embedders, Index, TranscriptionError
from stoa.bases.store import SQL
from stoa.bases.transcribing import Superseded, Transcribing
from stoa.bases.types import Chunking, EmbedderSpec, Item
from stoa.db import Database, Tx
from stoa.db.blobs import Blobs, blob_name
from stoa.db.internal import internal, internal_statement
from stoa.documents import ConversionError, Converted, Converter, Passage
from stoa.embedding import Embedder, EmbedderError
from stoa.index import BaseKey, NewChunk, NewItem
from stoa.kernel.errors import Unavailable
from stoa.kernel.supervise import Supervisor, Wakeup, spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ITEMS_MAX: Final = 4
"""In hand at once: while one is embedded, others are read."""
POLL_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
ORPHAN_SECONDS: Final = 600.0
PROGRESS_SECONDS: Final = 0.5
KNOWN_BATCH: Final = 1_000
_log = structlog.get_logger("stoa.documents.ingesting")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Target:
    """An index to fill, with its settings. `served`: the one that is searched, not the one that is being built."""

    key: BaseKey
    embedder: EmbedderSpec
    chunking: Chunking
    language: str
    served: bool
    ocr: bool


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What goes into one index, and what was said while the file was read."""

    target: _Target
    new: NewItem
    converted: Converted


@dataclass(slots=True)
class _Progress:
    pages_done: int | None = None
    pages: int | None = None
    chunks_done: int | None = None
    chunks: int | None = None

    def read(self, done: int, pages: int | None) -> None:
        """Never back: what is read once more, to be cut in another way, was read already."""
        self.pages_done, self.pages = max(done, self.pages_done or 0), pages

    def values(self) -> tuple[int | None, ...]:
        return (self.pages_done, self.pages, self.chunks_done, self.chunks)


class Ingestion:
    """`start`, then it claims by itself; `stop` gives back what it holds."""

    def __init__(
        self,
        database: Database,
        index: Index,
        blobs: Blobs,
        converter: Converter,
        embedders: Embedders,
        deletions: Deletions,
        node_id: UUID,
        transcribing: Transcribing,
        tally: IngestionMetrics | None = None,
    ) -> None:
        self._database = database
        self._index = index
        self._blobs = blobs
        self._converter = converter
        self._embedders = embedders
        self._deletions = deletions
        self._node_id = node_id
        self._transcribing = transcribing
        self._tally = tally or IngestionMetrics()
        self._supervisor = Supervisor()
        self._nudge = Wakeup(POLL_SECONDS)
        self._held: set[tuple[UUID, int, int]] = set()
        self._served_last = UUID(int=0)

    async def start(self) -> None:
        self._supervisor.keep(self._claim_forever, "knowledge.claim")
        self._supervisor.keep(self._sweep_forever, "knowledge.sweep")
        self._supervisor.keep(self._clear_forever, "knowledge.orphans")

    async def stop(self) -> None:
        await self._supervisor.stop()
        with suppress(Unavailable):  # Then another node finds this one gone.
            async with internal(self._database) as tx:
                await tx.execute(SQL.give_back, self._node_id)

    def heard(self, _payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_knowledge`: items wait."""
        self._nudge.give()

    def look(self) -> None:
        self._nudge.give()

    async def _claim_forever(self) -> None:
        while True:
            with suppress(Unavailable):
                await self._claim()
            await self._nudge.wait()

    async def _claim(self) -> None:
        """Fills the hands: from the bases after the one that was served last, then from the first on."""
        for start in (self._served_last, UUID(int=0)):
            room = ITEMS_MAX - len(self._held)
            if room <= 0:
                return
            held = [item_id for item_id, _, _ in self._held]
            async with internal_statement(self._database) as tx:
                rows = await tx.fetch(SQL.claim, self._node_id, room, rules.LEASE_SECONDS, held, start)
            for row in rows:
                item = store.item_of(row)
                self._held.add(_hold_key(item))
                self._supervisor.once(self._hold(item), f"item {item.id}")
            self._served_last = max((row["knowledgebase_id"] for row in rows), default=start)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._deletions.finish_pending()
                await self._switch_complete()
            except Unavailable:
                _log.warning("database away; the sweep waits")
            await asyncio.sleep(spread(SWEEP_SECONDS))

    async def _clear_forever(self) -> None:
        """Content whose upload or replacement a dead server did not live to finish."""
        while True:
            with suppress(Unavailable):
                await self._deletions.clear_orphans()
            await asyncio.sleep(spread(ORPHAN_SECONDS))

    # --- one item ---------------------------------------------------------------------------------------------------
    async def _hold(self, item: Item) -> None:
        begun = perf_counter()
        try:
            await self._carry(item)
            self._tally.seconds.observe(perf_counter() - begun)
        except Superseded:
            _log.info("item is not ours any more", item_id=str(item.id))
        except Unavailable:
            _log.warning("database away; the item will be claimed again", item_id=str(item.id))
        finally:
            self._held.discard(_hold_key(item))
            self._nudge.give()

    async def _carry(self, item: Item) -> None:
        if item.attempt > rules.ATTEMPTS_MAX:
            await self._fail(
                item,
                "attempts_exhausted",
                f"The server failed {rules.ATTEMPTS_MAX} times while it worked on this file.",
            )
            return
        try:
            await self._ingest(item)
        except ConversionError as error:
            if error.code in rules.RETRIED and item.attempt < rules.READING_ATTEMPTS_MAX:
                await self._postpone(item, error.code, error.message)
            else:
                await self._fail(item, error.code, error.message)
        except EmbedderError as error:
            await self._fail_or_wait(
                item, error.code, error.message, retryable=error.retryable, after=error.retry_after_seconds
            )
        except TranscriptionError as error:
            await self._fail_or_wait(item, error.code, error.message, retryable=error.retryable)
        except (Unavailable, Superseded):
            raise
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", item_id=str(item.id))
            await self._fail_or_wait(
                item,
                "internal_error",
                "Something went wrong on the server. It was logged under this item's id.",
                retryable=True,
            )

    async def _fail_or_wait(
        self, item: Item, code: str, message: str, *, retryable: bool, after: float | None = None
    ) -> None:
        if retryable and item.attempt < rules.ATTEMPTS_MAX:
            await self._postpone(item, code, message, after)
        else:
            await self._fail(item, code, message)

    async def _postpone(self, item: Item, code: str, message: str, after: float | None = None) -> None:
        error = {"code": code, "message": message}
        async with internal_statement(self._database) as tx:
            if (
                await tx.fetchval(SQL.postpone, *_fence(item), rules.backoff_seconds(item.attempt, after), error)
                is None
            ):
                raise Superseded
        self._tally.postponed.add(code)

    async def _fail(self, item: Item, code: str, message: str) -> None:
        """The end of this version. One that answers meanwhile goes on answering, also in a generation that is being built."""
        error = {"code": code, "message": message}
        carried: Sequence[_Prepared] = ()
        building = [target for target in await self._targets(item) if not target.served]
        if building and item.served_sha256 not in (None, item.sha256):
            assert item.served_name is not None, "what is served has a name"
            before = replace(
                item,
                sha256=item.served_sha256,
                name=item.served_name,
                mime_type=item.served_mime_type or item.mime_type,
            )
            with suppress(
                ConversionError, EmbedderError, TranscriptionError
            ):  # Then the re-index waits for this item, and says so.
                carried = await self._attended(item, lambda progress: self._prepare(before, building, progress))
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            under_way = store.building_of(base["building"]) if base is not None else None
            await self._locked(tx, item)
            chunks = generation = None
            for one in carried:
                if under_way is not None and one.target.key.generation == under_way.generation:
                    await self._index.replace(tx, one.target.key, one.new)
                    chunks, generation = len(one.new.chunks), under_way.generation
            await tx.execute(SQL.fail, *_fence(item), error, chunks, generation)
        self._tally.items.add("failed", code)
        if generation is not None:
            await self._switch_complete()

    async def _ingest(self, item: Item) -> None:
        targets = await self._targets(item)
        prepared = await self._attended(item, lambda progress: self._prepare(item, targets, progress))
        await self._swap(item, prepared)
        if any(not target.served for target in targets):
            await self._switch_complete()

    async def _attended(self, item: Item, work: Callable[[_Progress], Coroutine[Any, Any, T]]) -> T:
        """Does the work while the lease is renewed and progress told; ends it when the item is somebody else's, or after an hour."""
        progress = _Progress()
        main = asyncio.create_task(work(progress), name=f"item {item.id}: work")
        watch = asyncio.create_task(self._renew(item, progress), name=f"item {item.id}: lease")
        try:
            done, _ = await asyncio.wait(
                {main, watch}, timeout=rules.ITEM_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
            )
            if main in done:
                return main.result()
            if watch in done:
                watch.result()
            message = f"{item.name} could not be brought into the index within {rules.ITEM_SECONDS_MAX / 60:.0f} minutes. Split it."
            raise ConversionError("too_large", message)
        finally:
            for task in (main, watch):
                task.cancel()
            await asyncio.gather(main, watch, return_exceptions=True)

    async def _renew(self, item: Item, progress: _Progress) -> None:
        """Never returns by itself. Raises Superseded."""
        told, idle = progress.values(), 0.0
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            idle += PROGRESS_SECONDS
            if progress.values() != told or idle >= rules.RENEW_SECONDS:
                told, idle = progress.values(), 0.0
                with suppress(Unavailable):
                    async with internal_statement(self._database) as tx:
                        if await tx.fetchval(SQL.progress, *_fence(item), *told, rules.LEASE_SECONDS) is None:
                            raise Superseded

    async def _targets(self, item: Item) -> Sequence[_Target]:
        """The indexes that wait for this version of the item: the one that answers, and the one being built; each once."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.settings_of_worker, item.org_id, item.knowledgebase_id)
        if row is None:
            raise Superseded
        building = store.building_of(row["building"])
        key = BaseKey(item.org_id, item.project_id, item.knowledgebase_id, row["generation"])
        found: list[_Target] = []
        ocr = self._transcribing.wanted and row["ocr"] != "off"
        if building is None or item.served_sha256 != item.sha256:
            found.append(
                _Target(
                    key,
                    store.embedder_of(row["embedder"]),
                    Chunking(**row["chunking"]),
                    row["language"],
                    served=True,
                    ocr=ocr,
                )
            )
        if building is not None:
            key = replace(key, generation=building.generation)
            found.append(_Target(key, building.embedder, building.chunking, building.language, served=False, ocr=ocr))
        return found

    async def _prepare(self, item: Item, targets: Sequence[_Target], progress: _Progress) -> Sequence[_Prepared]:
        prepared: list[_Prepared] = []
        converted: dict[Chunking, Converted] = {}
        for target in targets:
            if target.chunking not in converted:
                converted[target.chunking] = await self._read(item, target, progress)
            new = await self._vectors(item, target, converted[target.chunking], progress)
            prepared.append(_Prepared(target, new, converted[target.chunking]))
        return prepared

    async def _read(self, item: Item, target: _Target, progress: _Progress) -> Converted:
        path = self._blobs.path(blob_name(item.org_id, item.project_id, item.sha256))
        found = await self._converter.convert(
            path,
            name=item.name,
            mime_type=item.mime_type,
            chunk_characters_max=target.chunking.characters_max,
            on_progress=progress.read,
            find_ocr_targets=target.ocr,
        )
        # What has no pages of its own, an archive or a letter, counts its pictures behind whatever was counted of it.
        total = (
            found.pages
            if found.pages is not None
            else (progress.pages_done or 0) + len({target.place for target in found.ocr_targets})
        )
        found = await self._transcribing.fill(
            item, path, found, target.chunking.characters_max, lambda left: progress.read(total - left, total)
        )
        if len(found.passages) > rules.CHUNKS_MAX:
            message = f"{item.name} would be {len(found.passages):,} chunks; an item holds at most {rules.CHUNKS_MAX:,}. Split the file."
            raise ConversionError("too_large", message)
        progress.pages_done = progress.pages = found.pages
        return found

    async def _vectors(self, item: Item, target: _Target, converted: Converted, progress: _Progress) -> NewItem:
        """Embeds what no chunk of the project has a vector for yet."""
        import numpy as np  # noqa: PLC0415 — the server starts without it

        embedder = await self._embedders.get(item.org_id, item.project_id, target.embedder)
        texts = [embedded_text(passage) for passage in converted.passages]
        hashes = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known: dict[bytes, NDArray[np.float32]] = dict(await self._known(item, embedder, hashes))
        missing = [(one, text) for one, text in dict(zip(hashes, texts, strict=True)).items() if one not in known]
        progress.chunks = len(texts)
        for start in range(0, len(missing), rules.EMBED_BATCH):
            progress.chunks_done = len(texts) - len(missing) + start
            batch = missing[start : start + rules.EMBED_BATCH]
            vectors = await embedder.embed([text for _, text in batch])
            known.update({one: vector for (one, _), vector in zip(batch, vectors, strict=True)})
        progress.chunks_done = len(texts)
        chunks = [
            NewChunk(passage.text, one, passage.page, passage.heading, passage.place)
            for passage, one in zip(converted.passages, hashes, strict=True)
        ]
        stacked = (
            np.stack([known[one] for one in hashes])
            if hashes
            else np.zeros((0, target.embedder.dimensions), np.float32)
        )
        return NewItem(
            item.id, item.shown_metadata, chunks, stacked, embedder=embedder.identity, language=target.language
        )

    async def _known(
        self, item: Item, embedder: Embedder, hashes: Sequence[bytes]
    ) -> "Mapping[bytes, NDArray[np.float32]]":
        found: dict[bytes, NDArray[np.float32]] = {}
        distinct = list(dict.fromkeys(hashes))
        for start in range(0, len(distinct), KNOWN_BATCH):
            async with internal_statement(self._database) as tx:
                found |= await self._index.known(
                    tx, item.org_id, item.project_id, embedder.identity, distinct[start : start + KNOWN_BATCH]
                )
        return found

    async def _swap(self, item: Item, prepared: Sequence[_Prepared]) -> None:
        """The new chunks for the old, and the item's end, in one transaction. Does it over where the base was re-indexed meanwhile."""
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            if base is None:
                raise Superseded
            building = store.building_of(base["building"])
            newest = building.generation if building is not None else base["generation"]
            current = await self._locked(tx, item)
            made = {one.target.key.generation: one for one in prepared}
            if newest not in made:
                await tx.execute(SQL.postpone, *_fence(item), 0.0, None)
                return
            live = {generation: made[generation] for generation in (base["generation"], newest) if generation in made}
            for one in live.values():
                # The metadata may have been changed while the file was read.
                await self._index.replace(tx, one.target.key, replace(one.new, metadata=current.shown_metadata))
            served, built = live.get(base["generation"]), live.get(newest) if building is not None else None
            converted = live[newest].converted
            await tx.execute(SQL.forget_transcripts, item.org_id, item.id, item.sha256)
            await tx.execute(
                SQL.settle,
                *_fence(item),
                converted.pages,
                len(served.new.chunks) if served else None,
                len(built.new.chunks) if built else None,
                list(converted.warnings) or None,
                newest,
            )
        self._tally.items.add("processed", "")
        self._tally.chunks.add(by=sum(len(one.new.chunks) for one in live.values()))
        if item.served_sha256 not in (None, item.sha256):
            await self._deletions.discard(item.org_id, item.project_id, [item.served_sha256])

    async def _locked(self, tx: Tx, item: Item) -> Item:
        """The item's row, held. Raises Superseded when it is not this worker's any more."""
        row = await tx.fetchrow(SQL.lock_item, item.org_id, item.id)
        if row is None or (row["version"], row["attempt"], row["node_id"]) != (
            item.version,
            item.attempt,
            item.node_id,
        ):
            raise Superseded
        return store.item_of(row)

    # --- generations ------------------------------------------------------------------------------------------------
    async def _switch_complete(self) -> None:
        """Bases whose next generation holds everything: it is the one that answers from now on, and the old one goes."""
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.complete_bases)
        for row in rows:
            async with internal(self._database) as tx:
                base = await tx.fetchrow(SQL.lock_base, row["org_id"], row["id"])
                building = store.building_of(base["building"]) if base is not None else None
                if (
                    base is None
                    or building is None
                    or not await tx.fetchval(SQL.is_complete, row["org_id"], row["id"], building.generation)
                ):
                    continue
                await tx.execute(SQL.switch, row["org_id"], row["id"])
                await tx.execute(SQL.switch_items, row["org_id"], row["id"], building.generation)
                await self._index.drop(tx, BaseKey(row["org_id"], base["project_id"], row["id"], base["generation"]))
                _log.info("re-index complete", knowledgebase_id=str(row["id"]), generation=building.generation)


def _hold_key(item: Item) -> tuple[UUID, int, int]:
    return (item.id, item.version, item.attempt)


def embedded_text(passage: Passage) -> str:
    """What is embedded: the passage under its heading, so that a piece of a section means what the section is about."""
    if passage.heading is None or passage.heading in passage.text:
        return passage.text
    return f"{passage.heading}\n{passage.text}"


def _fence(item: Item) -> tuple[object, ...]:
    return (item.org_id, item.id, item.version, item.attempt, item.node_id)

"""Takes items up and brings them into the index: read → cut → embed what is new → swap, in one transaction.

The item's row is its job: claimed with SKIP LOCKED, fenced by version, attempt and node, moved on by progress. A worker that is
superseded (the item was replaced, deleted, or taken up elsewhere) finds no row to write its progress to, and stops.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.blobs import Blobs, blob_name
from stoa.db.internal import internal, internal_statement
from stoa.kernel.errors import Unavailable
from stoa.kernel.supervise import Supervisor
from stoa.knowledge.bases import rules, store
from stoa.knowledge.bases.deletions import Deletions
from stoa.knowledge.bases.ports import Embedders, Index
from stoa.knowledge.bases.store import SQL
from stoa.knowledge.bases.types import Chunking, EmbedderSpec, Item
from stoa.knowledge.converting import Converter
from stoa.knowledge.embedding import Embedder, EmbedderError
from stoa.knowledge.index.types import BaseKey, NewChunk, NewItem
from stoa.knowledge.types import ConversionError, Converted, Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ITEMS_MAX: Final = 4
"""In hand at once: while one is embedded, others are read."""
POLL_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
PROGRESS_SECONDS: Final = 0.5
KNOWN_BATCH: Final = 1_000
_log = structlog.get_logger("stoa.knowledge.ingesting")


class _Superseded(Exception):
    """The item is not this worker's any more."""


@dataclass(frozen=True, slots=True)
class _Target:
    """An index to fill, with its settings."""

    key: BaseKey
    embedder: EmbedderSpec
    chunking: Chunking
    language: str


class Ingestion:
    """`start`, then it claims by itself; `stop` gives back what it holds."""

    def __init__(
        self, database: Database, index: Index, blobs: Blobs, converter: Converter, embedders: Embedders, deletions: Deletions, node_id: UUID
    ) -> None:
        self._database = database
        self._index = index
        self._blobs = blobs
        self._converter = converter
        self._embedders = embedders
        self._deletions = deletions
        self._node_id = node_id
        self._supervisor = Supervisor()
        self._nudged = asyncio.Event()
        self._held: set[UUID] = set()

    async def start(self) -> None:
        self._supervisor.keep(self._claim_forever, "knowledge.claim")
        self._supervisor.keep(self._sweep_forever, "knowledge.sweep")

    async def stop(self) -> None:
        await self._supervisor.stop()
        async with internal(self._database) as tx:
            await tx.execute(SQL.give_back, self._node_id)

    def heard(self, _payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_knowledge`: items wait."""
        self._nudged.set()

    def look(self) -> None:
        self._nudged.set()

    async def _claim_forever(self) -> None:
        while True:
            with suppress(Unavailable):
                await self._claim()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 — spreads the nodes' looks
                    await self._nudged.wait()
            self._nudged.clear()

    async def _claim(self) -> None:
        room = ITEMS_MAX - len(self._held)
        if room <= 0:
            return
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.claim, self._node_id, room, rules.SILENT_SECONDS_MAX)
        for row in rows:
            item = store.item_of(row)
            self._held.add(item.id)
            self._supervisor.once(self._hold(item), f"item {item.id}")

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 — spreads the nodes' looks
            try:
                await self._deletions.finish_pending()
                await self._switch_complete()
            except Unavailable:
                continue

    # --- one item ---------------------------------------------------------------------------------------------------
    async def _hold(self, item: Item) -> None:
        try:
            await self._carry(item)
        except _Superseded:
            _log.info("item is not ours any more", item_id=str(item.id))
        finally:
            self._held.discard(item.id)
            self._nudged.set()

    async def _carry(self, item: Item) -> None:
        if item.attempt > rules.ATTEMPTS_MAX:
            error = {"code": "attempts_exhausted", "message": f"The server failed {rules.ATTEMPTS_MAX} times while it worked on this file."}
            await self._settle(SQL.fail, item, error)
            return
        try:
            await self._ingest(item)
        except ConversionError as error:
            await self._settle(SQL.fail, item, {"code": error.code, "message": error.message})
        except EmbedderError as error:
            await self._fail_or_wait(item, error.code, error.message, retryable=error.retryable)
        except Unavailable:
            raise _Superseded from None  # The database is away: the row stays ours until it is back, or becomes anybody's.
        except _Superseded:
            raise
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", item_id=str(item.id))
            await self._fail_or_wait(item, "internal_error", "Something went wrong on the server. It was logged under this item's id.", retryable=True)

    async def _fail_or_wait(self, item: Item, code: str, message: str, *, retryable: bool) -> None:
        error = {"code": code, "message": message}
        if retryable and item.attempt < rules.ATTEMPTS_MAX:
            await self._settle(SQL.postpone, item, rules.backoff_seconds(item.attempt), error)
        else:
            await self._settle(SQL.fail, item, error)

    async def _ingest(self, item: Item) -> None:
        targets = await self._targets(item)
        prepared: list[tuple[BaseKey, NewItem]] = []
        converted: dict[Chunking, Converted] = {}
        for target in targets:
            if target.chunking not in converted:
                converted[target.chunking] = await self._read(item, target.chunking)
            prepared.append((target.key, await self._vectors(item, target, converted[target.chunking])))
        first = converted[targets[0].chunking]
        await self._swap(item, targets, prepared, first)

    async def _targets(self, item: Item) -> Sequence[_Target]:
        """The indexes that wait for this version of the item: the one that answers, and the one being built; each once."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.settings_of_worker, item.org_id, item.knowledgebase_id)
        if row is None:
            raise _Superseded
        building = store.building_of(row["building"])
        key = BaseKey(item.org_id, item.project_id, item.knowledgebase_id, row["generation"])
        found: list[_Target] = []
        if building is None or item.served_sha256 != item.sha256:
            found.append(_Target(key, store.embedder_of(row["embedder"]), Chunking(**row["chunking"]), row["language"]))
        if building is not None:
            key = BaseKey(item.org_id, item.project_id, item.knowledgebase_id, building.generation)
            found.append(_Target(key, building.embedder, building.chunking, building.language))
        return found

    async def _read(self, item: Item, chunking: Chunking) -> Converted:
        path = self._blobs.path(blob_name(item.org_id, item.project_id, item.sha256))
        found = await self._converter.convert(path, name=item.name, mime_type=item.mime_type)
        if len(found.passages) > rules.CHUNKS_MAX:
            message = f"{item.name} would be {len(found.passages):,} chunks; an item holds at most {rules.CHUNKS_MAX:,}. Split the file."
            raise ConversionError("too_large", message)
        await self._progress(item, found.pages, 0)
        return found

    async def _vectors(self, item: Item, target: _Target, converted: Converted) -> NewItem:
        """Embeds what no chunk of the project has a vector for yet."""
        import numpy as np  # noqa: PLC0415 — the server starts without it

        embedder = await self._embedders.get(item.org_id, item.project_id, target.embedder)
        texts = [embedded_text(passage) for passage in converted.passages]
        hashes = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known: dict[bytes, NDArray[np.float32]] = dict(await self._known(item, embedder, hashes))
        missing = [(one, text) for one, text in dict(zip(hashes, texts, strict=True)).items() if one not in known]
        beat = _Beat()
        for start in range(0, len(missing), rules.EMBED_BATCH):
            batch = missing[start : start + rules.EMBED_BATCH]
            vectors = await embedder.embed([text for _, text in batch])
            known.update({one: vector for (one, _), vector in zip(batch, vectors, strict=True)})
            if beat.due():
                await self._progress(item, converted.pages, len(texts) - len(missing) + start + len(batch))
        chunks = [
            NewChunk(passage.text, one, passage.page, passage.heading) for passage, one in zip(converted.passages, hashes, strict=True)
        ]
        stacked = np.stack([known[one] for one in hashes]) if hashes else np.zeros((0, target.embedder.dimensions), np.float32)
        return NewItem(item.id, item.shown_metadata, chunks, stacked, embedder=embedder.identity, language=target.language)

    async def _known(self, item: Item, embedder: Embedder, hashes: Sequence[bytes]) -> "Mapping[bytes, NDArray[np.float32]]":
        found: dict[bytes, NDArray[np.float32]] = {}
        distinct = list(dict.fromkeys(hashes))
        for start in range(0, len(distinct), KNOWN_BATCH):
            async with internal_statement(self._database) as tx:
                found |= await self._index.known(tx, item.org_id, item.project_id, embedder.identity, distinct[start : start + KNOWN_BATCH])
        return found

    async def _swap(self, item: Item, targets: Sequence[_Target], prepared: Sequence[tuple[BaseKey, NewItem]], converted: Converted) -> None:
        """The new chunks for the old, and the item's end, in one transaction. Does it over where the base was re-indexed meanwhile."""
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            if base is None:
                raise _Superseded
            building = store.building_of(base["building"])
            newest = building.generation if building is not None else base["generation"]
            current = await tx.fetchrow(SQL.lock_item, item.org_id, item.id)
            if current is None or (current["version"], current["attempt"], current["node_id"]) != (item.version, item.attempt, item.node_id):
                raise _Superseded
            if newest != targets[-1].key.generation:
                await tx.execute(SQL.postpone, *_fence(item), 0.0, None)
                return
            metadata = store.item_of(current).shown_metadata  # It may have been changed while the file was read.
            for key, new in prepared:
                await self._index.replace(tx, key, NewItem(new.item_id, metadata, new.chunks, new.vectors, embedder=new.embedder, language=new.language))
            count = len(prepared[0][1].chunks)
            await tx.execute(SQL.settle, *_fence(item), converted.pages, count, list(converted.warnings) or None, newest)
        if item.served_sha256 not in (None, item.sha256):
            await self._deletions.discard(item.org_id, item.project_id, [item.served_sha256])

    async def _progress(self, item: Item, pages: int | None, chunks: int) -> None:
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.progress, *_fence(item), pages, chunks, rules.SILENT_SECONDS_MAX) is None:
                raise _Superseded

    async def _settle(self, statement: str, item: Item, *values: Any) -> None:
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(statement, *_fence(item), *values) is None:
                raise _Superseded

    # --- generations ------------------------------------------------------------------------------------------------
    async def _switch_complete(self) -> None:
        """Bases whose next generation holds everything: it is the one that answers from now on, and the old one goes."""
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.building_bases)
        for row in rows:
            async with internal(self._database) as tx:
                base = await tx.fetchrow(SQL.lock_base, row["org_id"], row["id"])
                building = store.building_of(base["building"]) if base is not None else None
                if base is None or building is None or await tx.fetchval(SQL.unbuilt, row["org_id"], row["id"], building.generation):
                    continue
                await tx.execute(SQL.switch, row["org_id"], row["id"])
                await self._index.drop(tx, BaseKey(row["org_id"], base["project_id"], row["id"], base["generation"]))
                _log.info("re-index complete", knowledgebase_id=str(row["id"]), generation=building.generation)


class _Beat:
    """Says when it is time to write progress: the row is rewritten at most twice a second."""

    def __init__(self) -> None:
        self._last = monotonic()

    def due(self) -> bool:
        now = monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return False
        self._last = now
        return True


def embedded_text(passage: Passage) -> str:
    """What is embedded: the passage under its heading, so that a piece of a section means what the section is about."""
    if passage.heading is None or passage.heading in passage.text:
        return passage.text
    return f"{passage.heading}\n{passage.text}"


def _fence(item: Item) -> tuple[object, ...]:
    return (item.org_id, item.id, item.version, item.attempt, item.node_id)

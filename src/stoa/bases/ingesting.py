"""Claims items and indexes them: read → split → embed new chunks → swap, in one transaction.

The item's row is its job: leased, and fenced by version, attempt and node. A worker whose item was replaced, deleted or
claimed elsewhere finds no row to renew, and stops (docs/decisions/0011).
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from stoa.bases import rules, store
from stoa.bases.deletions import Deletions
from stoa.bases.languages import LanguageChoice
from stoa.bases.metrics import IngestionMetrics
from stoa.bases.ports import Embedders, Index, TranscriptionError
from stoa.bases.preparing import Prepared, Preparing, Progress
from stoa.bases.settling import Settling, fence, locked
from stoa.bases.store import SQL
from stoa.bases.transcribing import Transcribing
from stoa.bases.types import Item
from stoa.db import Database
from stoa.db.blobs import BlobStore, BlobsUnavailable
from stoa.db.internal import internal, internal_statement
from stoa.db.leases import JobFailed, JobWorker, Superseded, TookTooLong, renewed
from stoa.documents import ConversionError, Converter
from stoa.embedding import EmbedderError
from stoa.index import BaseKey
from stoa.kernel.errors import Unavailable
from stoa.kernel.leases import ITEM, ITEMS_MAX, ClaimLimits, Places
from stoa.kernel.supervise import Heartbeat, Supervisor, spread

SWEEP_SECONDS: Final = 5.0
ORPHAN_SECONDS: Final = 600.0
PROGRESS_SECONDS: Final = 0.5
_log = structlog.get_logger("stoa.bases.ingesting")
T = TypeVar("T")


class Ingestion:
    """Runs between `start` and `stop`, which releases its items. The `JobKind` of items."""

    def __init__(
        self,
        database: Database,
        index: Index,
        blobs: BlobStore,
        converter: Converter,
        embedders: Embedders,
        deletions: Deletions,
        node_id: UUID,
        transcribing: Transcribing,
        tally: IngestionMetrics | None = None,
        *,
        per_project_max: int = ITEMS_MAX - 1,
    ) -> None:
        self._database = database
        self._index = index
        self._preparing = Preparing(database, index, blobs, converter, embedders, transcribing)
        self._deletions = deletions
        self._node_id = node_id
        self._tally = tally or IngestionMetrics()
        language_choice = LanguageChoice(database, index, embedders)
        self._settling = Settling(database, index, deletions, language_choice, self._tally)
        self._supervisor = Supervisor()
        places = Places(ITEMS_MAX, per_project_max)
        self._worker = JobWorker[Item]("item", self, ITEM, places, "knowledge.claim", claims_all=True)

    @property
    def heartbeat(self) -> Heartbeat:
        return self._worker.heartbeat

    async def start(self) -> None:
        self._worker.start()
        self._supervisor.keep(self._sweep_forever, "knowledge.sweep")
        self._supervisor.keep(self._clear_forever, "knowledge.orphans")

    async def stop(self) -> None:
        await self._supervisor.stop()
        await self._worker.stop()
        await self._preparing.finished()
        await self._settling.finished()

    def on_notification(self, _payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_knowledge`: items wait."""
        self.wake()

    def wake(self) -> None:
        self._worker.wake()

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._deletions.finish_pending()
                await self._switch_complete()
            except Unavailable:
                _log.warning("database unavailable; the sweep waits")
            await asyncio.sleep(spread(SWEEP_SECONDS))

    async def _clear_forever(self) -> None:
        """Deletes content of uploads and replacements that a dead server left unfinished."""
        while True:
            with suppress(Unavailable):
                await self._deletions.clear_orphans()
            await asyncio.sleep(spread(ORPHAN_SECONDS))

    # --- a kind of leased job ---------------------------------------------------------------------------------------
    async def claim(self, wanted: ClaimLimits, held: Sequence[Item], /) -> Sequence[Item]:
        own = [item.id for item in held]
        large = max(0, rules.LARGE_ITEMS_MAX - sum(item.size > rules.SMALL_BYTES for item in held))
        async with internal_statement(self._database) as tx:
            arguments = (*wanted.arguments(), ITEM.seconds, own, rules.SMALL_BYTES, large)
            rows = await tx.fetch(SQL.claim, self._node_id, *arguments)
        return [store.item_of(row) for row in rows]

    async def work(self, item: Item, /) -> None:
        began_at = perf_counter()
        failed: JobFailed | None = None
        try:
            await self._ingest(item)
        except ConversionError as error:
            retryable = error.code in rules.RETRIED and item.attempt < rules.READING_ATTEMPTS_MAX
            failed = JobFailed(error.code, error.message, retryable=retryable)
        except EmbedderError as error:
            after = error.retry_after_seconds
            failed = JobFailed(error.code, error.message, retryable=error.retryable, retry_after_seconds=after)
        except TranscriptionError as error:
            failed = JobFailed(error.code, error.message, retryable=error.retryable)
        except BlobsUnavailable as error:
            failed = JobFailed("files_unavailable", error.message, retryable=True)
        self._tally.seconds.observe(perf_counter() - began_at)
        if failed is not None:
            raise failed

    async def postpone(self, item: Item, failed: JobFailed, /) -> None:
        seconds = rules.backoff_seconds(item.attempt, failed.retry_after_seconds)
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.postpone, *fence(item), seconds, failed.as_json()) is None:
                raise Superseded
        self._tally.postponed.add(failed.code)

    async def fail(self, item: Item, failed: JobFailed, /) -> None:
        """Marks this version as failed. The previous version stays searchable, also in a generation that is being
        built."""
        carried = await self._version_before(item)
        async with internal(self._database) as tx:
            base = await tx.fetchrow(SQL.share_base, item.org_id, item.knowledgebase_id)
            under_way = store.building_of(base["building"]) if base is not None else None
            await locked(tx, item)
            chunks = generation = None
            for one in carried:
                if under_way is not None and one.target.key.generation == under_way.generation:
                    await self._index.replace(tx, one.target.key, one.new)
                    chunks, generation = len(one.new.chunks), under_way.generation
            await tx.execute(SQL.fail, *fence(item), failed.as_json(), chunks, generation)
        self._tally.items.add("failed", failed.code)
        if generation is not None:
            await self._switch_complete()

    async def give_back(self) -> None:
        async with internal(self._database) as tx:
            await tx.execute(SQL.give_back, self._node_id)

    # --- one item ---------------------------------------------------------------------------------------------------
    async def _version_before(self, item: Item) -> Sequence[Prepared]:
        """The version that is searched now, prepared for a generation that is being built."""
        building = [target for target in await self._preparing.targets(item) if not target.served]
        if not building or item.served_sha256 in (None, item.sha256):
            return ()
        assert item.served_name is not None, "what is served has a name"
        before = replace(
            item,
            sha256=item.served_sha256,
            name=item.served_name,
            mime_type=item.served_mime_type or item.mime_type,
        )
        # If this fails too, the re-index waits for this item, and reports it.
        with suppress(ConversionError, EmbedderError, TranscriptionError, BlobsUnavailable):
            return await self._leased(item, lambda progress: self._preparing.prepare(before, building, progress))
        return ()

    async def _ingest(self, item: Item) -> None:
        targets = await self._preparing.targets(item)
        prepared = await self._leased(item, lambda progress: self._preparing.prepare(item, targets, progress))
        await self._settling.settle(item, prepared)
        if any(not target.served for target in targets):
            await self._switch_complete()

    async def _leased(self, item: Item, work: Callable[[Progress], Coroutine[Any, Any, T]]) -> T:
        """Works while the lease is renewed and progress is stored, for an hour at most. Raises Superseded."""
        progress = Progress()
        stored, idle_seconds = progress.values(), 0.0

        async def renew() -> None:
            nonlocal stored, idle_seconds
            idle_seconds += PROGRESS_SECONDS
            if progress.values() == stored and idle_seconds < ITEM.renew_seconds:
                return
            stored, idle_seconds = progress.values(), 0.0
            async with internal_statement(self._database) as tx:
                if await tx.fetchval(SQL.progress, *fence(item), *stored, ITEM.seconds) is None:
                    raise Superseded

        try:
            return await renewed(work(progress), renew, PROGRESS_SECONDS, seconds_max=rules.ITEM_SECONDS_MAX)
        except TookTooLong as error:
            minutes = f"{rules.ITEM_SECONDS_MAX / 60:.0f} minutes"
            message = f"{item.name} could not be brought into the index within {minutes}. Split it."
            raise ConversionError("too_large", message) from error

    # --- generations ------------------------------------------------------------------------------------------------
    async def _switch_complete(self) -> None:
        """Switches to the next generation of a base once it is complete, and drops the old one."""
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

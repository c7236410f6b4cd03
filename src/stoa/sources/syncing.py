"""One sync: walks an origin and makes the base's items what the origin holds.

Each address is settled by one fenced statement after its item was added, updated or skipped. If a node dies in between,
the node that claims the sync finds the item and does not add it again. Settled addresses are not fetched again. Nothing
is deleted before the whole walk has succeeded.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from stoa.db import Database
from stoa.db.internal import internal_statement
from stoa.db.leases import Superseded
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.leases import SYNC
from stoa.kernel.principal import Principal
from stoa.sources import rules, store
from stoa.sources.ports import Deletions, Items, Origins, Vault
from stoa.sources.store import SQL, Entry, Remembered
from stoa.sources.types import (
    Counts,
    Failed,
    Fetched,
    Finding,
    Incomplete,
    Known,
    NewDocument,
    NoDocument,
    Source,
    SourceError,
    Sync,
    Unchanged,
)

SAME_BATCH: Final = 500
SAME_SECONDS: Final = 1.0
DELETE_BATCH: Final = 500
T = TypeVar("T")


class Canceled(Exception):
    """A cancel of the sync was requested."""


class Syncing:
    """Long-lived; `run` performs one sync and returns its warnings.

    Raises SourceError, Superseded or Canceled.
    """

    def __init__(self, database: Database, items: Items, deletions: Deletions, origins: Origins, vault: Vault) -> None:
        self._database = database
        self._items = items
        self._deletions = deletions
        self._origins = origins
        self._vault = vault

    async def run(self, sync: Sync) -> Sequence[str]:
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.source_of_worker, sync.org_id, sync.source_id)
        if row is None:
            raise Superseded
        source = store.source_of(row)
        try:
            secrets: Mapping[str, str] = (
                orjson.loads(self._vault.open(source.id, row["secrets"])) if row["secrets"] else {}
            )
        except ValueError as error:
            message = "The source's secrets were stored under another STOA_SECRET_KEY; send them again with PUT."
            raise SourceError("credentials_missing", message) from error
        work = _Work(self._database, self._items, self._deletions, source, sync)
        async with self._origins.open(source, secrets) as origin, aclosing(origin.walk(work.remember)) as findings:
            async for finding in findings:
                await work.take(finding)
        await work.flush()
        await work.delete_gone()
        return work.warnings


class _Work:
    def __init__(self, database: Database, items: Items, deletions: Deletions, source: Source, sync: Sync) -> None:
        self._database = database
        self._items = items
        self._deletions = deletions
        self._source = source
        self._sync = sync
        self._principal = Principal(source.org_id, source.project_id, source.created_by or source.id)
        self._same: list[str] = []
        self._same_since = monotonic()
        self._asked = 0
        self._complete = True
        self.warnings: list[str] = []

    async def remember(self, origins: Sequence[str]) -> Sequence[Known]:
        self._asked += len(origins)
        if self._asked > rules.ENTRIES_MAX:
            message = (
                f"The origin holds more than {rules.ENTRIES_MAX:,} documents; "
                "narrow the source with include, exclude or several sources."
            )
            raise SourceError("origin_too_large", message)
        return [self._known(one) for one in await self._look(origins)]

    def _known(self, one: Remembered) -> Known:
        current = one.revision == self._source.revision
        # Addresses that failed, or were settled under other settings, before the sync was resumed are visited again.
        done = one.seen_by == self._sync.id and current and not one.failed
        lost = (
            one.sha256 is not None and one.item_id is None
        )  # Its item was deleted by hand: visit it again, to restore the item.
        return Known(one.state if current and (done or not lost) else {}, done)

    async def take(self, finding: Finding) -> None:
        try:
            await self._take(finding)
        finally:
            if isinstance(finding, Fetched):
                finding.content.file.close()

    async def _take(self, finding: Finding) -> None:
        if self._same and (
            not isinstance(finding, Unchanged)
            or len(self._same) >= SAME_BATCH
            or monotonic() - self._same_since > SAME_SECONDS
        ):
            await self.flush()
        match finding:
            case Unchanged():
                self._same_since = self._same_since if self._same else monotonic()
                self._same.append(finding.origin)
            case Fetched():
                await self._store(finding)
            case NoDocument():
                entry = Entry(finding.origin, dict(finding.state), None, self._source.revision)
                await self._settle([entry], Counts(found=1, skipped=1))
            case Failed():
                await self._fail(finding)
            case Incomplete():
                self._complete = False
                if len(self.warnings) < 20:
                    self.warnings.append(finding.reason)

    async def flush(self) -> None:
        """Stores all unchanged addresses with one statement."""
        if self._same:
            seen, self._same = self._same, []
            await self._settle([Entry(origin) for origin in seen], Counts(found=len(seen), unchanged=len(seen)))

    async def _fail(self, failed: Failed) -> None:
        entry = Entry(failed.origin, error={"code": failed.code, "message": failed.message})
        await self._settle([entry], Counts(found=1, failed=1))

    async def _store(self, found: Fetched) -> None:
        [known] = await self._look([found.origin])
        metadata = {**found.metadata, **self._source.metadata}
        counts, sha256 = Counts(found=1), found.content.sha256
        await self._check()
        try:
            if known.item_id is None or known.item_sha256 != sha256:
                await _whole(self._upload(found, metadata, known.item_id))
                counts = replace(counts, added=1) if known.item_id is None else replace(counts, updated=1)
            else:
                if known.item_metadata != metadata:
                    await self._items.set_metadata(
                        self._principal, self._source.knowledgebase_id, known.item_id, metadata
                    )
                # The same content, not settled: it was stored by a node that died before it settled the address.
                counts = replace(
                    counts, **{"unchanged" if known.sha256 == sha256 else "updated" if known.sha256 else "added": 1}
                )
        except (BadRequest, NotFound) as refusal:
            await self._fail(Failed(found.origin, refusal.code, refusal.message))
            return
        await self._settle([Entry(found.origin, dict(found.state), sha256, self._source.revision)], counts)

    async def _upload(self, found: Fetched, metadata: Mapping[str, Any], replaces: UUID | None) -> None:
        found.content.file.seek(0)
        name = rules.item_name(found.name)
        document = NewDocument(
            found.content.file, name, found.mime_type, metadata, replaces, self._source.id, found.origin
        )
        await self._items.store(self._principal, self._source.knowledgebase_id, document)

    # --- the end ----------------------------------------------------------------------------------------------------
    async def delete_gone(self) -> None:
        """Deletes the items whose documents the origin no longer has. If that looks like an accident, raises
        SourceError and deletes nothing."""
        confirmed, found = await self._check()
        source, sync = self._source, self._sync
        async with internal_statement(self._database) as tx:
            gone = await tx.fetch(SQL.gone, source.org_id, source.id, sync.id, self._complete)
        async with internal_statement(self._database) as tx:
            items = await tx.fetchval(SQL.count_items_of_source, source.org_id, source.id)
        if rules.withheld(len(gone), items, found) and not confirmed:
            raise SourceError("deletions_withheld", rules.withheld_message(len(gone), items, source.id))
        for start in range(0, len(gone), DELETE_BATCH):
            batch = gone[start : start + DELETE_BATCH]
            await self._check()
            with suppress(NotFound):
                await _whole(
                    self._deletions.delete_items(self._principal, source.knowledgebase_id, [row["id"] for row in batch])
                )
            # Unlisted addresses are counted when their entries are deleted, in one statement: a node's death cannot
            # count twice.
            await self._check(deleted=sum(bool(row["named"]) for row in batch))
        if self._complete:
            async with internal_statement(self._database) as tx:
                if await tx.fetchval(SQL.forget_entries, *store.fence(sync)) is None:
                    raise Superseded

    # --- the fence --------------------------------------------------------------------------------------------------
    async def _look(self, origins: Sequence[str]) -> Sequence[Remembered]:
        async with internal_statement(self._database) as tx:
            return await store.remember(tx, self._sync, origins)

    async def _settle(self, entries: Sequence[Entry], counts: Counts) -> None:
        async with internal_statement(self._database) as tx:
            canceled = await store.settle(tx, self._sync, entries, counts)
        if canceled is None:
            raise Superseded
        if canceled:
            raise Canceled

    async def _check(self, deleted: int = 0) -> tuple[bool, int]:
        """Checks the fence before something that cannot be undone. Returns (deletions are confirmed, addresses found so
        far)."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.beat, *store.fence(self._sync), SYNC.seconds, deleted)
        if row is None:
            raise Superseded
        if row["cancel_requested"]:
            raise Canceled
        return row["confirm_deletions"], row["found"]


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Completes even when the sync is canceled meanwhile: half an upload would leave content that no row names."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise

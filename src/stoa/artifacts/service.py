"""Artifacts, as the API and agents use them. One transaction per method."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import BinaryIO, Final
from uuid import UUID

from stoa.artifacts import contents, rules, store
from stoa.artifacts.ports import Projects
from stoa.artifacts.store import SQL
from stoa.artifacts.types import Artifact, ArtifactFilter, Kind, NewArtifact, NewVersion, Origin, Share, Version
from stoa.db import Database, Tx, audit, effects, idempotency
from stoa.db.blob_checks import discard_unused, tidied
from stoa.db.blobs import Blob, BlobStore, blob_name, lock_blob, opened
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal_statement
from stoa.db.receipts import Receipts, Removed
from stoa.kernel.clock import Clock
from stoa.kernel.errors import NotFound, PreconditionFailed
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

KINDS: Final = ("artifact",)
"""Kinds of deletion receipts."""


class Artifacts:
    def __init__(self, database: Database, projects: Projects, blobs: BlobStore, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._projects = projects
        self._blobs = blobs
        self._ids = ids
        self._clock = clock
        self.receipts = Receipts(database, ids, KINDS, self.discard)

    async def discard(self, org_id: UUID, project_id: UUID, hashes: Sequence[bytes]) -> tuple[int, int]:
        """Deletes content that no version uses. Returns (blobs, bytes)."""
        in_use = SQL.artifact_content_in_use
        return await discard_unused(self._database, self._blobs, in_use, org_id, project_id, hashes)

    # --- publishing -------------------------------------------------------------------------------------------------
    async def create(
        self,
        principal: Principal,
        new: NewArtifact,
        source: BinaryIO,
        once: IdempotencyKey | None = None,
        origin: Origin | None = None,
    ) -> Artifact:
        """Creates the artifact and its first version."""
        entry = rules.check_entry(new.kind, new.version.entry_path)
        mime_type = rules.mime_type(new.kind, new.version.mime_type, new.file_name)
        await asyncio.to_thread(contents.check, new.kind, source, entry)
        home = await self._projects.chosen(principal, new.project_id)
        blob = await self._blobs.put(principal.org_id, home, source)
        once = once.bound(blob.sha256) if once else None
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return await store.artifact(tx, principal.org_id, UUID(first["id"]))
                if origin and (done := await effects.found(tx, origin.call)):
                    return await store.artifact(tx, principal.org_id, UUID(done["artifact_id"]))
                artifact_id = self._ids.new()
                run_id = origin.run_id if origin else None
                about = (new.store_id, new.user_id, run_id, new.file_name, new.name, new.kind.value)
                await tx.execute(SQL.insert_artifact, principal.org_id, home, artifact_id, *about, principal.key_id)
                described = (new.name, new.version.description, mime_type)
                await self._insert(tx, principal, home, artifact_id, described, blob, source, entry, run_id)
                await audit.record(tx, principal, "artifact.create", artifact_id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(artifact_id)}, artifact_id)
                if origin:
                    await effects.record(tx, origin.call, {"artifact_id": str(artifact_id)})
                return await store.artifact(tx, principal.org_id, artifact_id)
        finally:
            await tidied(self.discard(principal.org_id, home, [blob.sha256]))  # Unless a version uses it by now.

    async def add_version(
        self,
        principal: Principal,
        artifact_id: UUID,
        new: NewVersion,
        source: BinaryIO,
        if_match: UUID | None,
        origin: Origin | None = None,
        once: IdempotencyKey | None = None,
    ) -> Version:
        """Adds the newest version. Content equal to the newest version's adds none. Raises PreconditionFailed if
        `if_match` is not the newest version."""
        before = await self.get(principal, artifact_id)
        entry = rules.check_entry(before.kind, new.entry_path) if new.entry_path else before.latest.entry_path
        mime_type = rules.mime_type(before.kind, new.mime_type or before.latest.mime_type, before.file_name)
        await asyncio.to_thread(contents.check, before.kind, source, entry)
        blob = await self._blobs.put(before.org_id, before.project_id, source)
        stale = [blob.sha256]
        once = once.bound(blob.sha256) if once else None
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return await store.version(tx, principal.org_id, artifact_id, UUID(first["id"]))
                if origin and (done := await effects.found(tx, origin.call)):
                    return await store.version(tx, principal.org_id, artifact_id, UUID(done["version_id"]))
                held = await store.artifact(tx, principal.org_id, artifact_id, lock=True)
                if if_match is not None and held.latest.id != if_match:
                    raise PreconditionFailed(
                        f"The newest version of this artifact is {held.latest.version} ({held.latest.id}), not"
                        f" {if_match}: read it, and send your change again."
                    )
                name = new.name or held.name
                same = (held.latest.sha256, held.latest.mime_type, held.latest.entry_path, held.name)
                if same == (blob.sha256, mime_type, entry, name):
                    await _remember(tx, principal, once, artifact_id, held.latest)
                    return held.latest
                described = (name, new.description, mime_type)
                run_id = origin.run_id if origin else None
                made = await self._insert(
                    tx, principal, held.project_id, artifact_id, described, blob, source, entry, run_id
                )
                await tx.execute(SQL.touch_artifact, principal.org_id, artifact_id, name)
                gone = await tx.fetch(SQL.delete_old_versions, principal.org_id, artifact_id, rules.VERSIONS_MAX)
                stale += [row["sha256"] for row in gone]
                await audit.record(tx, principal, "artifact.version", artifact_id)
                await _remember(tx, principal, once, artifact_id, made)
                if origin:
                    await effects.record(tx, origin.call, {"version_id": str(made.id)})
                return made
        finally:
            await tidied(self.discard(before.org_id, before.project_id, stale))  # Unless a version uses it by now.

    async def _insert(
        self,
        tx: Tx,
        principal: Principal,
        project_id: UUID,
        artifact_id: UUID,
        described: tuple[str, str | None, str],
        blob: Blob,
        source: BinaryIO,
        entry_path: str | None,
        run_id: UUID | None,
    ) -> Version:
        # Another artifact of the project with the same content may have been deleted, and the blob with it: lock the
        # blob's name, then check again.
        await lock_blob(tx, blob.name)
        if not await self._blobs.exists(blob.name):
            source.seek(0)
            await self._blobs.put(principal.org_id, project_id, source)
        row = await tx.fetchrow(
            SQL.insert_artifact_version,
            principal.org_id,
            project_id,
            self._ids.new(),
            artifact_id,
            *described,
            blob.size,
            blob.sha256,
            entry_path,
            run_id,
            principal.key_id,
        )
        assert row is not None, "an insert gives its row"
        return store.version_of(row)

    # --- reading ----------------------------------------------------------------------------------------------------
    async def list(self, principal: Principal, wanted: ArtifactFilter, page: PageRequest) -> Page[Artifact]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_artifacts(tx, principal.org_id, wanted, page)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, artifact_id: UUID) -> Artifact:
        async with self._database.tenant(principal) as tx:
            return await store.artifact(tx, principal.org_id, artifact_id)

    async def versions(self, principal: Principal, artifact_id: UUID, page: PageRequest) -> Page[Version]:
        async with self._database.tenant(principal) as tx:
            await store.artifact(tx, principal.org_id, artifact_id)
            query = SQL.list_artifact_versions.format(order=page.order_by("version DESC"))
            rows = await tx.fetch(query, principal.org_id, artifact_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_artifact_versions, principal.org_id, artifact_id)
        return Page.counted([store.version_of(row) for row in rows], page, total)

    async def version(
        self, principal: Principal, artifact_id: UUID, named: UUID | int | None
    ) -> tuple[Artifact, Version]:
        async with self._database.tenant(principal) as tx:
            found = await store.artifact(tx, principal.org_id, artifact_id)
            return found, await store.version(tx, principal.org_id, artifact_id, named)

    async def content(self, version: Version) -> AsyncIterator[bytes]:
        """Raises BlobsUnavailable, if at all, before the first piece."""
        return await opened(self._blobs.read(blob_name(version.org_id, version.project_id, version.sha256)))

    async def of_run(self, principal: Principal, run_id: UUID) -> Sequence[tuple[Kind, str, Version]]:
        """Kind, file name and version of everything that a run has published."""
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.versions_of_run, principal.org_id, run_id)
        return [(Kind(row["kind"]), row["file_name"], store.version_of(row)) for row in rows]

    # --- links and deletion -----------------------------------------------------------------------------------------
    async def share(
        self, principal: Principal, artifact_id: UUID, pinned_version_id: UUID | None, expires_at: datetime | None
    ) -> Share:
        """Creates a link that anybody may open. Sharing again changes the terms of the same link."""
        ends = rules.check_expiry(expires_at, self._clock.now())
        async with self._database.tenant(principal) as tx:
            held = await store.artifact(tx, principal.org_id, artifact_id, lock=True)
            if pinned_version_id is not None:
                await store.version(tx, principal.org_id, artifact_id, pinned_version_id)
            values = (rules.new_share_id(), artifact_id, pinned_version_id, ends, principal.key_id)
            row = await tx.fetchrow(SQL.share_artifact, principal.org_id, held.project_id, *values)
            assert row is not None, "an upsert gives its row"
            await audit.record(tx, principal, "artifact.share", artifact_id)
            return store.share_of(row)

    async def unshare(self, principal: Principal, artifact_id: UUID) -> None:
        """Revokes the link. Raises NotFound if there is none."""
        async with self._database.tenant(principal) as tx:
            await store.artifact(tx, principal.org_id, artifact_id)
            if await tx.fetchval(SQL.unshare_artifact, principal.org_id, artifact_id) is None:
                raise NotFound(f"The artifact {artifact_id} is not shared.")
            await audit.record(tx, principal, "artifact.unshare", artifact_id)

    async def shared(self, share_id: UUID) -> tuple[Kind, str, Version] | None:
        """Kind, file name and version that a link shows, or None if it was revoked or has expired."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.shared, share_id)
        return (Kind(row["kind"]), row["file_name"], store.version_of(row)) if row is not None else None

    async def delete(self, principal: Principal, artifact_id: UUID) -> UUID:
        """Deletes the artifact, its versions and its link. Returns the receipt's id."""
        async with self._database.tenant(principal) as tx:
            await store.artifact(tx, principal.org_id, artifact_id, lock=True)
            versions = await tx.fetch(SQL.delete_artifact_versions, principal.org_id, artifact_id)
            project_id = await tx.fetchval(SQL.delete_artifact, principal.org_id, artifact_id)
            stores = {"artifacts": (1, 0), "artifact_versions": (len(versions), 0)}
            ids, hashes = [row["id"] for row in versions], [row["sha256"] for row in versions]
            removed = Removed("artifact", artifact_id, project_id, stores, ids, hashes)
            receipt = await self.receipts.write(tx, principal, removed)
        await self.receipts.finish(principal.org_id, receipt)
        return receipt


async def _remember(
    tx: Tx, principal: Principal, once: IdempotencyKey | None, artifact_id: UUID, version: Version
) -> None:
    if once:
        await idempotency.record(tx, principal, once, {"id": str(version.id)}, artifact_id)

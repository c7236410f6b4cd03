"""Verified deletions: one transaction removes every row, then the blobs are removed, then a re-scan searches all tables
for what is left.

The receipt is written in the transaction that removes the rows. Blobs and re-scan follow at once; if the node dies in
between, the next sweep (`finish_pending`) continues.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from stoa.conversations import store
from stoa.conversations.store import SQL
from stoa.conversations.types import Deletion
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.blob_checks import discard_unused
from stoa.db.blobs import Blobs, BlobsUnavailable
from stoa.db.internal import internal
from stoa.db.rescan import rescan
from stoa.journal import Journal
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

CANCEL_ATTEMPTS_MAX: Final = 5
"""A new run may start between the cancel and the lock; each round cancels one."""
EXPIRED_MAX: Final = 100
"""Expired conversations that are deleted per poll of the worker."""
_log = structlog.get_logger("stoa.conversations")


@dataclass(frozen=True, slots=True)
class RemovedRuns:
    """`others`: rows and bytes per table of the runs' own tables."""

    run_ids: Sequence[UUID]
    bytes: int
    others: Mapping[str, Mapping[str, Any]]


class Runs(Protocol):
    """The port of deletions for runs."""

    async def cancel_active(self, principal: Principal, conversation_id: UUID) -> None:
        """Returns once no run of the conversation is active."""
        ...

    async def active(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> bool: ...

    async def delete(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> RemovedRuns: ...


class Deletions:
    def __init__(self, database: Database, blobs: Blobs, journal: Journal, runs: Runs, ids: Ids) -> None:
        self._database = database
        self._blobs = blobs
        self._journal = journal
        self._runs = runs
        self._ids = ids

    async def delete(self, principal: Principal, conversation_id: UUID) -> Deletion:
        """Raises NotFound when another request deleted it first."""
        for _ in range(CANCEL_ATTEMPTS_MAX):
            await self._runs.cancel_active(principal, conversation_id)
            deletion_id = await self._remove(principal, conversation_id)
            if deletion_id is not None:
                await self._finish(principal.org_id, deletion_id)
                return await self.receipt(principal, deletion_id)
        raise Conflict("New runs keep starting in this conversation; stop sending messages to it, then delete it.")

    async def expire(self, now: datetime) -> int:
        """Deletes up to a hundred conversations whose retention has expired, each as a request would, with a receipt;
        returns their number. Safe on several nodes at once."""
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.expired_conversations, now, EXPIRED_MAX)
        for row in rows:
            principal = Principal(row["org_id"], row["project_id"], row["project_id"])
            with suppress(NotFound):  # Another node was first.
                deletion_id = await self._remove(principal, row["id"], idle_since=row["idle_since"])
                if deletion_id is not None:
                    await self._finish(row["org_id"], deletion_id)
        if rows:
            _log.info("expired conversations removed", conversations=len(rows))
        return len(rows)

    async def receipt(self, principal: Principal, deletion_id: UUID) -> Deletion:
        async with self._database.tenant(principal) as tx:
            found = await store.deletion(tx, principal.org_id, deletion_id)
        if found is None:
            raise NotFound(f"There is no deletion {deletion_id}.")
        return found

    async def finish_pending(self) -> None:
        """Completes deletions whose blobs or re-scan are outstanding, whichever node started them."""
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.unverified_deletions)
        for row in rows:
            if not await self._finish(row["org_id"], row["id"]):
                return

    async def forget_answers(self) -> None:
        """Remembered answers to requests older than a day."""
        async with internal(self._database) as tx:
            await idempotency.sweep(tx)

    async def discard(self, org_id: UUID, project_id: UUID, hashes: Sequence[bytes]) -> tuple[int, int]:
        """Removes blobs that no file names; returns (blobs, bytes)."""
        return await discard_unused(self._database, self._blobs, SQL.content_in_use, org_id, project_id, hashes)

    async def _remove(
        self, principal: Principal, conversation_id: UUID, *, idle_since: datetime | None = None
    ) -> UUID | None:
        """Removes every row, in one transaction; None if a run started meanwhile. Messages that forks still show are
        moved to one of the forks. With `idle_since` it sees conversations of all users, and returns None if there was
        any activity since."""
        org_id = principal.org_id
        async with self._database.tenant(principal, every_owner=idle_since is not None) as tx:
            await tx.execute(SQL.take_turns, org_id, conversation_id)
            held = await tx.fetchrow(SQL.lock_conversation, org_id, conversation_id)
            if held is None:
                raise NotFound(f"There is no conversation {conversation_id}.")
            if idle_since is not None and held["updated_at"] >= idle_since:
                return None
            if await self._runs.active(tx, org_id, conversation_id):
                return None
            await tx.execute(SQL.lock_files, org_id, conversation_id)
            kept_messages, kept_files = await store.hand_over(tx, org_id, conversation_id)
            references = await tx.fetchrow(SQL.delete_references, org_id, conversation_id)
            content = await tx.fetchrow(SQL.delete_content, org_id, conversation_id)
            assert content is not None
            assert references is not None
            files = await tx.fetch(SQL.delete_files, org_id, conversation_id)
            runs = await self._runs.delete(tx, org_id, conversation_id)
            journals = await self._journal.delete(tx, org_id, runs.run_ids)
            answers = await tx.fetchval(SQL.delete_idempotency, org_id, [conversation_id, *runs.run_ids])
            await tx.execute(SQL.delete_conversation, org_id, conversation_id)
            stores = {
                "conversations": {"rows": 1, "bytes": 0},
                "conversation_segments": {"rows": references["segments"], "bytes": 0},
                "conversation_files": {"rows": references["files"], "bytes": 0},
                "messages": {"rows": len(content["message_ids"]), "bytes": content["message_bytes"]},
                "files": {"rows": len(files), "bytes": 0},
                "file_passages": {"rows": content["passages"], "bytes": content["passage_bytes"]},
                "runs": {"rows": len(runs.run_ids), "bytes": runs.bytes},
                "journals": {"rows": journals.journals, "bytes": 0},
                "events": {"rows": journals.events, "bytes": journals.event_bytes},
                "idempotency_keys": {"rows": answers, "bytes": 0},
                **runs.others,
                "blobs": {"rows": 0, "bytes": 0},
            }
            deletion_id = self._ids.new()
            await tx.execute(
                SQL.insert_deletion,
                org_id,
                held["project_id"],
                deletion_id,
                conversation_id,
                stores,
                sorted({file["sha256"].hex() for file in files}),
                list(runs.run_ids),
                [file["id"] for file in files],
                content["message_ids"],
                kept_messages,
                kept_files,
                principal.key_id,
            )
            await audit.record(tx, principal, "conversation.delete", conversation_id)
            return deletion_id

    async def _finish(self, org_id: UUID, deletion_id: UUID) -> bool:
        """Removes the blobs, then runs the re-scan. Idempotent, also on two nodes at once. False while the blobs are
        unreachable: the receipt stays unverified, and the sweep retries."""
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.deletion, org_id, deletion_id)
        assert row is not None
        if row["blobs"]:
            try:
                hashes = [bytes.fromhex(name) for name in row["blobs"]]
                count, size = await self.discard(org_id, row["project_id"], hashes)
            except BlobsUnavailable as error:
                _log.warning(
                    "deleted content cannot be removed yet", deletion_id=str(deletion_id), reason=error.message
                )
                return False
            async with internal(self._database) as tx:
                await tx.execute(SQL.record_blobs, org_id, deletion_id, count, size)
        async with internal(self._database) as tx:
            left = await rescan(tx, org_id, [row["subject_id"], *row["run_ids"], *row["file_ids"], *row["message_ids"]])
            if not left:
                await tx.execute(SQL.verified, org_id, deletion_id)
        if left:
            _log.error("a deletion left rows behind", deletion_id=str(deletion_id), rows=dict(left))
        return True

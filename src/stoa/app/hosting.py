"""What apps get from other slices: storage for the files of their runs, and the runs that callbacks report."""

from datetime import datetime
from typing import BinaryIO
from uuid import UUID

from stoa import callbacks, conversations, runs
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import AppError, Conflict
from stoa.kernel.principal import Principal


class AppUploads:
    """Files for the runs of an app: each in its own conversation that is bound to the app."""

    def __init__(self) -> None:
        self.conversations: conversations.Conversations | None = None
        self.links: conversations.FileLinks | None = None
        """Set once they exist: conversations are built after the runs that they cancel."""

    async def file(self, principal: Principal, file_id: UUID) -> conversations.File:
        assert self.conversations is not None, "requests are taken after everything is built"
        return await self.conversations.file(principal, file_id)

    def link(self, principal: Principal, file_id: UUID) -> tuple[str, datetime]:
        assert self.links is not None, "requests are taken after everything is built"
        return self.links.issue(file_id, principal.key_id)

    async def add(
        self,
        principal: Principal,
        app_id: UUID,
        source: BinaryIO,
        name: str | None,
        mime_type: str | None,
        idempotency_key: str | None = None,
    ) -> conversations.File:
        key, held = idempotency_key, self.conversations
        assert held is not None, "requests are taken after everything is built"
        made = await held.create(
            principal,
            model_id=None,
            app_id=app_id,
            org_id=None,
            title=None,
            user_id=None,
            metadata=None,
            agent=None,
            once=IdempotencyKey(key, f"app-files/{app_id}", b"") if key else None,
        )
        # The conversation has the client's key, and the file one that no client can send.
        once = IdempotencyKey(f"file of {key}", f"app-files/{made.id}", b"") if key else None
        try:
            return await held.add_file(principal, made.id, source, name=name, mime_type=mime_type, once=once)
        except AppError as refusal:
            # The key was used before: the conversation holds the file of the first request.
            if not isinstance(refusal, Conflict):
                await held.delete(principal, made.id)
            raise


class RunReports:
    """The runs that callbacks report."""

    def __init__(self) -> None:
        self.runs: runs.Runs | None = None
        """Set once they exist: callbacks are built before the runs that they report."""

    async def report(self, org_id: UUID, run_id: UUID) -> callbacks.Report | None:
        assert self.runs is not None, "workers start after everything is built"
        found = await self.runs.found(org_id, run_id)
        return runs.report(found) if found is not None else None

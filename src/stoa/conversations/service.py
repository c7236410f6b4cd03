"""Conversations as their owners use them. One transaction per method; other slices are used through ports."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final
from uuid import UUID

from stoa.conversations import rules, store
from stoa.conversations.agents import check_agent
from stoa.conversations.deletions import Deletions
from stoa.conversations.ports import Agents, Apps, Models, Projects
from stoa.conversations.reading import Reader
from stoa.conversations.store import SQL
from stoa.conversations.types import Conversation, Deletion, File, FileStatus, Fork, Message
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.blob_checks import tidied
from stoa.db.blobs import Blob, Blobs, blob_name, lock_blob, opened
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.files import file_name
from stoa.kernel.files import mime_type as guess_type
from stoa.kernel.ids import Ids
from stoa.kernel.pages import COUNT_MAX, Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.schema_checker import SchemaChecker

FILES_PER_CONVERSATION_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Changes:
    """A PATCH: only the named fields change."""

    fields: frozenset[str]
    title: str | None = None
    metadata: Mapping[str, Any] | None = None
    model_id: UUID | str | None = None
    """An id or a slug."""
    agent: Mapping[str, Any] | None = None
    pinned: bool | None = None


class Conversations:
    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        models: Models,
        agents: Agents,
        projects: Projects,
        apps: Apps,
        reader: Reader,
        deletions: Deletions,
        ids: Ids,
        schemas: SchemaChecker,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._models = models
        self._agents = agents
        self._projects = projects
        self._apps = apps
        self._reader = reader
        self._deletions = deletions
        self._ids = ids
        self._schemas = schemas

    async def create(
        self,
        principal: Principal,
        *,
        model_id: UUID | str | None,
        app_id: UUID | None = None,
        org_id: UUID | None,
        title: str | None,
        user_id: str | None,
        metadata: Mapping[str, Any] | None,
        agent: Mapping[str, Any] | None,
        once: IdempotencyKey | None,
        given_id: UUID | None = None,
    ) -> Conversation:
        """`given_id` is derived from a name of the client's, with a key of `once` that is derived from it too."""
        if org_id is not None and org_id != principal.org_id:
            raise BadRequest.field("org_id", "is not the organization of this key")
        await check_agent(self._agents, self._schemas, principal, agent)
        if app_id is not None and agent is not None:
            raise BadRequest.field("agent", "cannot be set: an app brings its own")
        project_id = await (self._apps.home(principal, app_id) if app_id else self._projects.home(principal))
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await _one(tx, principal, UUID(first["id"]))
            model = await self._model(tx, model_id)
            conversation_id = given_id or self._ids.new()
            await tx.execute(
                SQL.insert_conversation,
                principal.org_id,
                project_id,
                conversation_id,
                title,
                model,
                user_id,
                metadata,
                principal.key_id,
                agent,
                app_id,
            )
            await audit.record(tx, principal, "conversation.create", conversation_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(conversation_id)}, conversation_id)
            return await _one(tx, principal, conversation_id)

    async def get(self, principal: Principal, conversation_id: UUID) -> Conversation:
        async with self._database.tenant(principal) as tx:
            return await _one(tx, principal, conversation_id)

    async def show(self, principal: Principal, conversation_id: UUID) -> Conversation:
        """With its usage so far."""
        async with self._database.tenant(principal) as tx:
            found = await _one(tx, principal, conversation_id)
            return replace(found, usage=await store.usage(tx, principal.org_id, conversation_id))

    async def list(
        self,
        principal: Principal,
        page: PageRequest,
        *,
        model_id: UUID | str | None,
        app_id: UUID | None,
        org_id: UUID | None,
        user_id: str | None,
        query: str | None,
        pinned: bool = False,
    ) -> Page[Conversation]:
        if pinned and (query is not None or page.cursor is not None):
            raise BadRequest.field("pinned", "cannot be sent with q or a cursor; leave one of them out")
        expression = rules.search_expression(query) if query is not None else None
        if org_id is not None and org_id != principal.org_id:
            return Page((), page.page, page.page_size, 0)
        async with self._database.tenant(principal) as tx:
            model = await self._models.id_of(tx, model_id) if model_id is not None else None
            filters = {"model_id": model, "app_id": app_id, "user_id": user_id}
            if pinned:
                return await store.pinned_conversations(tx, principal.org_id, page, model, app_id, user_id)
            return await store.list_conversations(tx, principal.org_id, page, filters, expression)

    async def update(self, principal: Principal, conversation_id: UUID, changes: Changes) -> Conversation:
        if "model_id" in changes.fields and changes.model_id is None:
            raise BadRequest.field("model_id", "cannot be null; name the model to switch to")
        if "pinned" in changes.fields and changes.pinned is None:
            raise BadRequest.field("pinned", "cannot be null; send true or false")
        await check_agent(self._agents, self._schemas, principal, changes.agent)
        async with self._database.tenant(principal) as tx:
            before = await _one(tx, principal, conversation_id)
            if "model_id" in changes.fields and before.model is None:
                raise BadRequest.field("model_id", "cannot be set on a conversation that is bound to an app")
            if "agent" in changes.fields and before.app_id is not None:
                raise BadRequest.field("agent", "cannot be set on a conversation that is bound to an app")
            model = await self._model(tx, changes.model_id)
            await tx.execute(
                SQL.update_conversation,
                principal.org_id,
                conversation_id,
                "title" in changes.fields,
                changes.title,
                "metadata" in changes.fields,
                changes.metadata,
                "model_id" in changes.fields,
                model,
                "agent" in changes.fields,
                changes.agent,
                changes.pinned,
                bool(changes.fields - {"pinned"}),
            )
            await audit.record(tx, principal, "conversation.update", conversation_id)
            return await _one(tx, principal, conversation_id)

    async def _model(self, tx: Tx, name: UUID | str | None) -> UUID | None:
        """The model of this id or slug. Raises BadRequest for one that cannot be used."""
        if name is None:
            return None
        model_id = await self._models.id_of(tx, name)
        await self._models.check(tx, model_id)
        return model_id

    async def fork(
        self, principal: Principal, conversation_id: UUID, asked: Fork, once: IdempotencyKey | None
    ) -> Conversation:
        """A new conversation that shares this one's history, up to a message of it or up to now."""
        org_id = principal.org_id
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await _one(tx, principal, UUID(first["id"]))
            await tx.execute(SQL.take_turns, org_id, conversation_id)  # Serializes with a deletion.
            origin = await _one(tx, principal, conversation_id)
            until: int | None = origin.message_count
            if asked.from_message_id is not None:
                until = await tx.fetchval(SQL.message_position, org_id, conversation_id, asked.from_message_id)
            if until is None:
                raise BadRequest.field(
                    "from_message_id",
                    "is no message of this conversation; GET /v1/conversations/{id}/messages lists them",
                )
            if await tx.fetchval(SQL.count_segments, org_id, conversation_id) >= rules.SEGMENTS_MAX:
                raise Conflict(
                    f"This history is made of {rules.SEGMENTS_MAX} shared pieces already; fork one of the"
                    " conversations it comes from."
                )
            fork_id = self._ids.new()
            await store.fork(tx, principal, origin, fork_id, until, asked)
            await audit.record(tx, principal, "conversation.fork", fork_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(fork_id)}, fork_id)
            return await _one(tx, principal, fork_id)

    async def forks(self, principal: Principal, conversation_id: UUID) -> Sequence[Conversation]:
        """Its tree of forks: the root and all its forks, the oldest first."""
        async with self._database.tenant(principal) as tx:
            await _one(tx, principal, conversation_id)
            rows = await tx.fetch(SQL.fork_tree, principal.org_id, conversation_id, rules.FORKS_SHOWN_MAX)
            return await store.listed(tx, principal.org_id, [row["id"] for row in rows])

    async def delete(self, principal: Principal, conversation_id: UUID) -> Deletion:
        await self.get(principal, conversation_id)
        return await self._deletions.delete(principal, conversation_id)

    async def deletion(self, principal: Principal, deletion_id: UUID) -> Deletion:
        return await self._deletions.receipt(principal, deletion_id)

    async def messages(self, principal: Principal, conversation_id: UUID, page: PageRequest) -> Page[Message]:
        async with self._database.tenant(principal) as tx:
            conversation = await _one(tx, principal, conversation_id)
            found = await store.list_messages(tx, principal.org_id, conversation_id, page)
        return Page(found, page.page, page.page_size, conversation.message_count)

    async def contents(
        self, principal: Principal, places: Sequence[tuple[UUID, int]]
    ) -> Mapping[UUID, Sequence[Mapping[str, Any]]]:
        """The contents of messages by their ids. `places` are (conversation, position); those that are gone are left
        out."""
        async with self._database.tenant(principal) as tx:
            named = [conversation for conversation, _ in places], [position for _, position in places]
            rows = await tx.fetch(SQL.contents, principal.org_id, *named)
        return {row["id"]: row["content"] for row in rows}

    # --- sessions of apps -------------------------------------------------------------------------------------------
    async def sessions(
        self, principal: Principal, app_id: UUID, page: PageRequest, user_id: str | None
    ) -> Page[Conversation]:
        """Raises NotFound for an app that the principal does not see."""
        await self._apps.project_of(principal, app_id)
        query = SQL.sessions.format(order=page.order_by("created_at DESC"))
        whose = (principal.org_id, app_id, user_id)
        async with self._database.tenant(principal) as tx:
            ids = [row["id"] for row in await tx.fetch(query, *whose, page.page_size, page.offset)]
            found = await store.listed(tx, principal.org_id, ids)
            total = await tx.fetchval(SQL.count_sessions, *whose, COUNT_MAX)
        return Page(found, page.page, page.page_size, total, total == COUNT_MAX)

    async def session_messages(
        self, principal: Principal, app_id: UUID, session_id: UUID, user_id: str | None, page: PageRequest
    ) -> Page[Message]:
        """Raises NotFound, and BadRequest if several users have a session of this name."""
        await self._apps.project_of(principal, app_id)
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.conversations_of_session, principal.org_id, app_id, session_id, user_id)
            if not rows:
                raise NotFound(f"There is no session {session_id} of this app.")
            if len(rows) > 1:
                raise BadRequest.field("user_id", "is required: several users named their session alike")
            found = await store.list_messages(tx, principal.org_id, rows[0]["id"], page)
        return Page(found, page.page, page.page_size, rows[0]["message_count"])

    # --- files ------------------------------------------------------------------------------------------------------
    async def add_file(
        self,
        principal: Principal,
        conversation_id: UUID,
        source: BinaryIO,
        *,
        name: str | None,
        mime_type: str | None,
        once: IdempotencyKey | None,
    ) -> File:
        """Stores an upload and begins to read it. `once` is bound to the content's hash by the caller's fingerprint."""
        clean = file_name(name)
        conversation = await self.get(principal, conversation_id)
        blob = await self._blobs.put(principal.org_id, conversation.project_id, source)
        if once:
            once = IdempotencyKey(once.key, once.route, blob.sha256)
        try:
            file = await self._record_file(
                principal, conversation, source, blob, clean, guess_type(clean, mime_type), once
            )
        except BaseException:
            # No row refers to the uploaded content, so it is removed here, where its name is known.
            await tidied(self._deletions.discard(principal.org_id, conversation.project_id, [blob.sha256]))
            raise
        self._reader.begin(file)
        return file

    async def _record_file(
        self,
        principal: Principal,
        conversation: Conversation,
        source: BinaryIO,
        blob: Blob,
        name: str,
        mime_type: str,
        once: IdempotencyKey | None,
    ) -> File:
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await _file(tx, principal, UUID(first["id"]))
            if await tx.fetchrow(SQL.lock_conversation, principal.org_id, conversation.id) is None:
                raise _no_conversation(conversation.id)
            _, count = await store.list_files(tx, principal.org_id, conversation.id, PageRequest(1, 1))
            if count >= FILES_PER_CONVERSATION_MAX:
                raise BadRequest.field(
                    "file", f"is one too many: a conversation holds at most {FILES_PER_CONVERSATION_MAX} files"
                )
            # A concurrent deletion may have removed the same content: lock it and check again.
            await lock_blob(tx, blob.name)
            if not await self._blobs.exists(blob.name):
                source.seek(0)
                await self._blobs.put(principal.org_id, conversation.project_id, source)
            pending = File(
                self._ids.new(),
                principal.org_id,
                conversation.project_id,
                conversation.id,
                name,
                blob.size,
                mime_type,
                blob.sha256,
                FileStatus.PENDING,
                None,
                None,
                None,
                conversation.created_at,
            )
            file = await store.insert_file(tx, principal, pending)
            await audit.record(tx, principal, "file.create", file.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(file.id)}, conversation.id)
            return file

    async def files(self, principal: Principal, conversation_id: UUID, page: PageRequest) -> Page[File]:
        async with self._database.tenant(principal) as tx:
            await _one(tx, principal, conversation_id)
            found, total = await store.list_files(tx, principal.org_id, conversation_id, page)
        return Page(found, page.page, page.page_size, total)

    async def file(self, principal: Principal, file_id: UUID) -> File:
        async with self._database.tenant(principal) as tx:
            return await _file(tx, principal, file_id)

    async def content(self, file: File) -> AsyncIterator[bytes]:
        """Raises BlobsUnavailable before the first chunk."""
        return await opened(self._blobs.read(blob_name(file.org_id, file.project_id, file.sha256)))


async def resolve_content(
    tx: Tx, principal: Principal, conversation_id: UUID, content: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """A message's parts with every file checked and named. Raises BadRequest naming `content[1].file.id`."""
    wanted = [UUID(str(part["file"]["id"])) for part in content if part["type"] == "file"]
    if not wanted:
        return content
    files = await store.files_of(tx, principal.org_id, conversation_id, wanted)
    resolved: list[Mapping[str, Any]] = []
    for index, part in enumerate(content):
        if part["type"] != "file":
            resolved.append(part)
            continue
        file = files.get(UUID(str(part["file"]["id"])))
        if file is None:
            raise BadRequest.field(
                f"content[{index}].file.id",
                "is not a file of this conversation; upload it to /v1/conversations/{id}/files first",
            )
        resolved.append({"type": "file", "file": {"id": str(file.id), "name": file.name}})
    if any(file.conversation_id != conversation_id for file in files.values()):
        await tx.execute(SQL.reach_files, principal.org_id, conversation_id, wanted)
    return resolved


async def _one(tx: Tx, principal: Principal, conversation_id: UUID) -> Conversation:
    found = await store.conversation(tx, principal.org_id, conversation_id)
    if found is None:
        raise _no_conversation(conversation_id)
    return found


async def _file(tx: Tx, principal: Principal, file_id: UUID) -> File:
    found = await store.file(tx, principal.org_id, file_id)
    if found is None:
        raise NotFound(f"There is no file {file_id}.")
    return found


def _no_conversation(conversation_id: UUID) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id}.")

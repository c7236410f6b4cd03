"""The routes of contract section 4, but for sending a message, which belongs to the runs."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Query, Request, UploadFile
from fastapi import File as FormFile
from starlette.responses import StreamingResponse

from stoa.conversations import rules, wire
from stoa.conversations.agent_wire import agent_of
from stoa.conversations.links import FileLinks
from stoa.conversations.service import Changes, Conversations
from stoa.conversations.types import Fork
from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
    repeated,
)
from stoa.http.authentication import bearer_token
from stoa.http.wire import DeletedWire
from stoa.kernel.errors import BadRequest
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

PrincipalOf = Callable[[UUID], Awaitable[Principal]]
"""The owner of a credential that a link names. Raises Unauthorized once it is gone."""


def routes(conversations: Conversations, gate: Gate, links: FileLinks, principal_of: PrincipalOf) -> Routes:
    router = Routes(tags=["conversations"])
    reading, writing = gate("conversations:read"), gate("conversations:write")

    @router.get("/v1/conversations", responses=refusals())
    async def list_conversations(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE, cursors=True))],
        app_id: UUID | None = None,
        model_id: Annotated[str | None, Query(max_length=300, description="The id or the slug of a model.")] = None,
        org_id: UUID | None = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
        q: Annotated[
            str | None,
            Query(max_length=500, description="Words to find in titles and messages; the last may be unfinished."),
        ] = None,
        pinned: Annotated[
            bool, Query(description="Only pinned ones, the last pinned first unless `sort` is sent.")
        ] = False,
    ) -> DataList[wire.ConversationWire]:
        """The caller's conversations, newest first."""
        found = await conversations.list(
            principal,
            page,
            model_id=model_id,
            app_id=app_id,
            org_id=org_id,
            user_id=user_id,
            query=q,
            pinned=pinned,
        )
        return page_of(found, wire.conversation)

    @router.post("/v1/conversations", status_code=201, responses=refusals(409))
    async def create_conversation(
        body: wire.CreateConversation,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ConversationWire]:
        """A new conversation, bound to a model (`model_id`: an id or slug of /v1/router/models) or to an app."""
        once = repeated(idempotency_key, "conversations", body)
        created = await conversations.create(
            principal,
            model_id=_one_of(body).model_id,
            app_id=body.app_id,
            org_id=body.org_id,
            title=body.title,
            user_id=body.user_id,
            metadata=body.metadata,
            agent=agent_of(body.agent),
            once=once,
        )
        return Data(data=wire.conversation(created))

    @router.get("/v1/conversations/{conversation_id}", responses=refusals(404))
    async def get_conversation(
        conversation_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.ConversationWire]:
        return Data(data=wire.conversation(await conversations.show(principal, conversation_id)))

    @router.patch("/v1/conversations/{conversation_id}", responses=refusals(404))
    async def update_conversation(
        conversation_id: UUID, body: wire.UpdateConversation, principal: Annotated[Principal, writing]
    ) -> Data[wire.ConversationWire]:
        changes = Changes(
            frozenset(body.model_fields_set),
            body.title,
            body.metadata,
            body.model_id,
            agent_of(body.agent),
            body.pinned,
        )
        return Data(data=wire.conversation(await conversations.update(principal, conversation_id, changes)))

    @router.delete("/v1/conversations/{conversation_id}", responses=refusals(404, 409))
    async def delete_conversation(conversation_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with its messages, runs, events and files; cancels a running run first. The receipt is at
        /v1/deletions/{deletion_id}."""
        deletion = await conversations.delete(principal, conversation_id)
        return DeletedWire(message="deleted", deletion_id=deletion.id)

    @router.post("/v1/conversations/{conversation_id}/fork", status_code=201, responses=refusals(404, 409))
    async def fork_conversation(
        conversation_id: UUID,
        body: wire.ForkConversation,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ConversationWire]:
        """A new conversation that shares this one's history up to a message, or up to now, and goes its own way from
        there."""
        sent = {"conversation_id": str(conversation_id), **body.model_dump(mode="json")}
        once = IdempotencyKey(idempotency_key, "fork", fingerprint(sent)) if idempotency_key else None
        asked = Fork(body.from_message_id, body.title, body.metadata)
        return Data(data=wire.conversation(await conversations.fork(principal, conversation_id, asked, once)))

    @router.get("/v1/conversations/{conversation_id}/forks", responses=refusals(404))
    async def list_forks(
        conversation_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[list[wire.ConversationWire]]:
        """The tree of forks that it is in: where it began, and everything that was forked from that, the oldest first;
        at most 500."""
        return Data(data=[wire.conversation(one) for one in await conversations.forks(principal, conversation_id)])

    @router.get("/v1/deletions/{deletion_id}", responses=refusals(404))
    async def get_deletion(
        deletion_id: UUID, principal: Annotated[Principal, gate("conversations:read", "knowledge:read")]
    ) -> Data[wire.DeletionWire]:
        """The receipt of a deletion: per store the rows and bytes removed, and when a re-scan found nothing."""
        return Data(data=wire.deletion(await conversations.deletion(principal, deletion_id)))

    @router.get("/v1/conversations/{conversation_id}/messages", responses=refusals(404))
    async def list_messages(
        conversation_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.MessageWire]:
        """The conversation's messages, oldest first."""
        return page_of(await conversations.messages(principal, conversation_id, page), wire.message)

    _files(router, conversations, gate)
    _content(router, conversations, gate, links, principal_of)
    return router


def _files(router: Routes, conversations: Conversations, gate: Gate) -> None:
    reading, writing = gate("conversations:read"), gate("conversations:write")

    @router.post(
        "/v1/conversations/{conversation_id}/files",
        status_code=201,
        responses=refusals(404, 409, 413, 415),
    )
    async def upload_file(
        conversation_id: UUID,
        principal: Annotated[Principal, writing],
        file: Annotated[UploadFile, FormFile(description="At most 128 MiB.")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.FileWire]:
        """Adds a file that messages of this conversation may name. It is read in the background; `status` tells how
        that went."""
        once = IdempotencyKey(idempotency_key, f"files/{conversation_id}", b"") if idempotency_key else None
        added = await conversations.add_file(
            principal, conversation_id, file.file, name=file.filename, mime_type=file.content_type, once=once
        )
        return Data(data=wire.file(added))

    @router.get("/v1/conversations/{conversation_id}/files", responses=refusals(404))
    async def list_files(
        conversation_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.FILES_SORTABLE))],
    ) -> DataList[wire.FileWire]:
        return page_of(await conversations.files(principal, conversation_id, page), wire.file)

    @router.get("/v1/files/{file_id}", responses=refusals(404))
    async def get_file(file_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.FileWire]:
        return Data(data=wire.file(await conversations.file(principal, file_id)))


def _content(
    router: Routes,
    conversations: Conversations,
    gate: Gate,
    links: FileLinks,
    principal_of: PrincipalOf,
) -> None:
    async def reader(
        request: Request,
        file_id: UUID,
        ticket: Annotated[
            str | None, Query(max_length=200, description="Of a signed link, instead of a header.")
        ] = None,
    ) -> Principal:
        if ticket is not None and bearer_token(request) is None:
            return await principal_of(links.key_of(file_id, ticket))
        return await gate.admit(request, bearer_token(request), "conversations:read")

    @router.get("/v1/files/{file_id}/content", response_class=StreamingResponse, responses=refusals(404))
    async def download_file(file_id: UUID, principal: Annotated[Principal, Depends(reader)]) -> StreamingResponse:
        """The file, byte for byte. Always sent as an attachment, so that no browser runs what a stranger uploaded."""
        found = await conversations.file(principal, file_id)
        headers = {
            "Content-Length": str(found.size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name)}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        return StreamingResponse(await conversations.content(found), media_type=found.mime_type, headers=headers)


def _one_of(body: wire.CreateConversation) -> wire.CreateConversation:
    if (body.model_id is None) == (body.app_id is None):
        reason = "send exactly one of model_id and app_id"
        raise BadRequest(
            f"A conversation is with a model or with an app: {reason}.", details={"model_id": reason, "app_id": reason}
        )
    return body

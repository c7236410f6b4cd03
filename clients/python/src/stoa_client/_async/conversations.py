"""Conversations: messages, files, forks, the queue, deletion and its receipt."""

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from stoa_client import types
from stoa_client._async.paging import AsyncPage, fetch_page
from stoa_client._async.stream import AsyncStream, open_stream
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import StoaError
from stoa_client.follow import Follower
from stoa_client.wire import (
    EVENT_STREAM,
    NOT_GIVEN,
    Call,
    NotGiven,
    Upload,
    content_of,
    given,
    once,
    path,
    query,
    set_fields,
)

OnBusy = Literal["reject", "queue", "interrupt"]


class AsyncConversations:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        app_id: str | None = None,
        model_id: str | None = None,
        org_id: str | None = None,
        user_id: str | None = None,
        q: str | None = None,
        pinned: bool | None = None,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
        cursor: str | None = None,
    ) -> AsyncPage[types.Conversation]:
        """Newest first. `q` searches titles and messages. `pinned`: only the pinned ones, the last pinned first."""
        filters = query(
            app_id=app_id,
            model_id=model_id,
            org_id=org_id,
            user_id=user_id,
            q=q,
            pinned=pinned,
            page=page,
            page_size=page_size,
            sort=sort,
            cursor=cursor,
        )
        return await fetch_page(self._transport, Call("GET", "/v1/conversations", query=filters), types.Conversation)

    async def create(
        self,
        *,
        model_id: str | None = None,
        app_id: str | None = None,
        title: str | None = None,
        org_id: str | None = None,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        agent: types.Agent | None = None,
        idempotency_key: str | None = None,
    ) -> types.Conversation:
        """Creates a conversation with a model (`models.list()`) or an app; pass exactly one of them."""
        body = set_fields(
            model_id=model_id,
            app_id=app_id,
            title=title,
            org_id=org_id,
            user_id=user_id,
            metadata=metadata,
            agent=agent,
        )
        call = Call("POST", "/v1/conversations", body=body, headers=once(idempotency_key))
        return types.Conversation((await self._transport.json(call))["data"])

    async def get(self, conversation_id: str) -> types.Conversation:
        call = Call("GET", path("/v1/conversations/{}", conversation_id))
        return types.Conversation((await self._transport.json(call))["data"])

    async def update(
        self,
        conversation_id: str,
        *,
        title: str | NotGiven | None = NOT_GIVEN,
        metadata: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        model_id: str | NotGiven = NOT_GIVEN,
        agent: types.Agent | NotGiven | None = NOT_GIVEN,
        pinned: bool | NotGiven = NOT_GIVEN,
    ) -> types.Conversation:
        """Changes only the arguments that are passed. None removes the title, metadata or agent."""
        body = given(title=title, metadata=metadata, model_id=model_id, agent=agent, pinned=pinned)
        call = Call("PATCH", path("/v1/conversations/{}", conversation_id), body=body)
        return types.Conversation((await self._transport.json(call))["data"])

    async def delete(self, conversation_id: str) -> types.Deleted:
        """Deletes it permanently, with its messages, runs, events, files and traces. `receipt(deletion_id)` is the
        proof."""
        call = Call("DELETE", path("/v1/conversations/{}", conversation_id), safe=False)
        return types.Deleted(await self._transport.json(call))

    async def receipt(self, deletion_id: str) -> types.Deletion:
        """What a deletion removed, by store. `verified_at` is set when a re-scan has found nothing left."""
        call = Call("GET", path("/v1/deletions/{}", deletion_id))
        return types.Deletion((await self._transport.json(call))["data"])

    async def wait_for_receipt(self, deletion_id: str, *, seconds_max: float = 60.0) -> types.Deletion:
        """Waits until the receipt is verified, and returns it."""
        deadline = time.monotonic() + seconds_max
        while True:
            receipt = await self.receipt(deletion_id)
            if receipt.verified_at is not None:
                return receipt
            if time.monotonic() > deadline:
                raise StoaError(f"Deletion {deletion_id} is not verified after {seconds_max:g} s; ask for it later.")
            await asyncio.sleep(0.25)

    async def fork(
        self,
        conversation_id: str,
        *,
        from_message_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Conversation:
        """Creates a conversation that shares the messages up to `from_message_id`, or all."""
        body = set_fields(from_message_id=from_message_id, title=title, metadata=metadata)
        where = path("/v1/conversations/{}/fork", conversation_id)
        call = Call("POST", where, body=body, headers=once(idempotency_key))
        return types.Conversation((await self._transport.json(call))["data"])

    async def messages(
        self, conversation_id: str, *, page: int | None = None, page_size: int | None = None
    ) -> AsyncPage[types.Message]:
        """Oldest first."""
        where = path("/v1/conversations/{}/messages", conversation_id)
        call = Call("GET", where, query=query(page=page, page_size=page_size))
        return await fetch_page(self._transport, call, types.Message)

    async def send(
        self,
        conversation_id: str,
        content: types.Content,
        *,
        model_id: str | None = None,
        subagents_enabled: bool | None = None,
        tools: builtins.list[str] | None = None,
        on_busy: OnBusy | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncStream:
        """Sends a message; returns the stream of the run that answers it. A busy conversation raises ConflictError."""
        body = set_fields(
            content=content_of(content),
            model_id=model_id,
            subagents_enabled=subagents_enabled,
            tools=tools,
            on_busy=on_busy,
            metadata=metadata,
            stream=True,
        )
        headers = {"Accept": EVENT_STREAM, **once(idempotency_key)}
        call = Call("POST", path("/v3/conversations/{}/messages", conversation_id), body=body, headers=headers)
        return await open_stream(self._transport, call, Follower())

    async def start(
        self,
        conversation_id: str,
        content: types.Content,
        *,
        model_id: str | None = None,
        subagents_enabled: bool | None = None,
        tools: builtins.list[str] | None = None,
        on_busy: OnBusy | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Run:
        """Sends a message without waiting for the answer; the run continues in the background. `runs.stream(run.id)`
        follows it."""
        body = set_fields(
            content=content_of(content),
            model_id=model_id,
            subagents_enabled=subagents_enabled,
            tools=tools,
            on_busy=on_busy,
            metadata=metadata,
            background=True,
        )
        where = path("/v3/conversations/{}/messages", conversation_id)
        call = Call("POST", where, body=body, headers=once(idempotency_key))
        return types.Run((await self._transport.json(call))["data"])

    async def regenerate(
        self,
        conversation_id: str,
        *,
        model_id: str | None = None,
        subagents_enabled: bool | None = None,
        tools: builtins.list[str] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncStream:
        """Answers the last message again."""
        body = set_fields(model_id=model_id, subagents_enabled=subagents_enabled, tools=tools, stream=True)
        headers = {"Accept": EVENT_STREAM, **once(idempotency_key)}
        call = Call("POST", path("/v1/conversations/{}/regenerate", conversation_id), body=body, headers=headers)
        return await open_stream(self._transport, call, Follower())

    async def forks(self, conversation_id: str) -> builtins.list[types.Conversation]:
        """The tree of forks that contains this conversation: the original and all its forks, oldest first, at most 500.
        `forked_from` is the origin of each."""
        call = Call("GET", path("/v1/conversations/{}/forks", conversation_id))
        return [types.Conversation(raw) for raw in (await self._transport.json(call))["data"]]

    async def queue(self, conversation_id: str) -> builtins.list[types.Queued]:
        """Messages sent with on_busy="queue" that wait, the next one first."""
        call = Call("GET", path("/v1/conversations/{}/queue", conversation_id))
        return [types.Queued(raw) for raw in (await self._transport.json(call))["data"]]

    async def unqueue(self, conversation_id: str, run_id: str) -> types.Acknowledgement:
        """Removes a message from the queue. Raises ConflictError if its run has started."""
        call = Call("DELETE", path("/v1/conversations/{}/queue/{}", conversation_id, run_id), safe=False)
        return types.Acknowledgement(await self._transport.json(call))

    # --- files ------------------------------------------------------------------------------------------------------
    async def upload_file(
        self, conversation_id: str, file: Upload, *, idempotency_key: str | None = None
    ) -> types.File:
        """Uploads a file (a Path, or (name, bytes)) that messages of this conversation can refer to."""
        where = path("/v1/conversations/{}/files", conversation_id)
        call = Call("POST", where, files=[("file", file)], headers=once(idempotency_key))
        return types.File((await self._transport.json(call))["data"])

    async def files(
        self,
        conversation_id: str,
        *,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
    ) -> AsyncPage[types.File]:
        where = path("/v1/conversations/{}/files", conversation_id)
        call = Call("GET", where, query=query(page=page, page_size=page_size, sort=sort))
        return await fetch_page(self._transport, call, types.File)

    async def get_file(self, file_id: str) -> types.File:
        return types.File((await self._transport.json(Call("GET", path("/v1/files/{}", file_id))))["data"])

    def download_file(self, file_id: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """`async with conversations.download_file(id) as pieces: async for piece in pieces: …`"""
        return self._transport.download(Call("GET", path("/v1/files/{}/content", file_id)))

"""Runs: their state, their events, and answers to their questions."""

import builtins
from collections.abc import Mapping
from typing import Any

from stoa_client import events, types
from stoa_client._async.paging import AsyncPage, fetch_page
from stoa_client._async.stream import AsyncStream, open_stream
from stoa_client._async.transport import AsyncTransport
from stoa_client.follow import Follower
from stoa_client.wire import EVENT_STREAM, Call, path, query, set_fields


class AsyncRuns:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        status: str | builtins.list[str] | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
        cursor: str | None = None,
    ) -> AsyncPage[types.Run]:
        """Newest first. `status` may be a list, and may be "awaiting_input"."""
        filters = query(
            status=status,
            conversation_id=conversation_id,
            user_id=user_id,
            page=page,
            page_size=page_size,
            sort=sort,
            cursor=cursor,
        )
        return await fetch_page(self._transport, Call("GET", "/v1/runs", query=filters), types.Run)

    async def get(self, run_id: str) -> types.Run:
        return types.Run((await self._transport.json(Call("GET", path("/v1/runs/{}", run_id))))["data"])

    async def stream(self, run_id: str, *, after_sequence: int | None = None) -> AsyncStream:
        """Follows a run from its first event, or after `after_sequence`; in that case the hash cannot be verified."""
        after = after_sequence or 0
        where, follower = path("/v1/runs/{}/stream", run_id), Follower(after=after, run_id=run_id)
        call = Call("GET", where, query=query(after_sequence=after or None), headers={"Accept": EVENT_STREAM})
        return await open_stream(self._transport, call, follower)

    async def events(
        self, run_id: str, *, page: int | None = None, page_size: int | None = None
    ) -> AsyncPage[events.StoredEvent]:
        """The events stored so far, in order."""
        where = path("/v1/runs/{}/events", run_id)
        call = Call("GET", where, query=query(page=page, page_size=page_size))
        return await fetch_page(self._transport, call, events.StoredEvent)

    async def cancel(self, run_id: str) -> types.Acknowledgement:
        """Cancels a run. After this returns, no more events are written to it. Does nothing if the run has ended."""
        return types.Acknowledgement(await self._transport.json(Call("POST", path("/v1/runs/{}/cancel", run_id))))

    async def answer(self, run_id: str, request_id: str, feedback: str) -> types.Acknowledgement:
        """Answers a question of the run. A question can be answered once."""
        return await self._input(run_id, "human_feedback", request_id=request_id, feedback=feedback)

    async def approve(
        self, run_id: str, request_id: str, *, params: Mapping[str, Any] | None = None, feedback: str | None = None
    ) -> types.Acknowledgement:
        """Approves a tool call. `params` changes its editable parameters."""
        return await self._input(
            run_id, "approval", request_id=request_id, approved=True, params=params, feedback=feedback
        )

    async def decline(self, run_id: str, request_id: str, *, feedback: str | None = None) -> types.Acknowledgement:
        """Declines a tool call. The model gets `feedback`."""
        return await self._input(run_id, "approval", request_id=request_id, approved=False, feedback=feedback)

    async def _input(self, run_id: str, kind: str, **data: object) -> types.Acknowledgement:
        # Not retried: the server accepts an answer once, and would refuse the repetition of one that had arrived.
        body = {"type": kind, "data": set_fields(**data)}
        call = Call("POST", path("/v1/runs/{}/input", run_id), safe=False, body=body)
        return types.Acknowledgement(await self._transport.json(call))

    async def tool_calls(self, run_id: str) -> builtins.list[types.ToolCall]:
        """The run's tool calls: each was recorded before it was made, with its outcome."""
        call = Call("GET", path("/v1/runs/{}/tool-calls", run_id))
        return [types.ToolCall(raw) for raw in (await self._transport.json(call))["data"]]

    async def callbacks(self, run_id: str) -> builtins.list[types.Callback]:
        """The run's callbacks, each with its attempts."""
        call = Call("GET", path("/v1/runs/{}/callbacks", run_id))
        return [types.Callback(raw) for raw in (await self._transport.json(call))["data"]]

    async def replay_callback(self, run_id: str, callback_id: str) -> types.Acknowledgement:
        """Sends it again with the same `webhook-id`, so that a receiver can recognise a repetition."""
        call = Call("POST", path("/v1/runs/{}/callbacks/{}/replay", run_id, callback_id), safe=False)
        return types.Acknowledgement(await self._transport.json(call))

"""Models, traces, usage and keys."""

import builtins
from typing import Final, TypedDict, Unpack

from stoa_client import types
from stoa_client._async.paging import AsyncPage, fetch_page
from stoa_client._async.tail import AsyncTail, open_tail
from stoa_client._async.transport import AsyncTransport
from stoa_client.wire import Call, Time, once, path, query, set_fields, time_text


class TraceFilters(TypedDict, total=False):
    project_id: str | None
    started_after: Time | None
    started_before: Time | None
    status: str | builtins.list[str] | None
    name: str | None
    model: str | None
    user_id: str | None
    session_id: str | None
    tag: str | None
    source_id: str | None
    wire: str | builtins.list[str] | None
    cost_usd_min: float | None
    cost_usd_max: float | None
    seconds_min: float | None
    seconds_max: float | None
    q: str | None


_BOUNDS: Final = {"started_after": "started_at:gte", "started_before": "started_at:lte"}


class AsyncModels:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, page: int | None = None, page_size: int | None = None) -> AsyncPage[types.Model]:
        call = Call("GET", "/v1/router/models", query=query(page=page, page_size=page_size))
        return await fetch_page(self._transport, call, types.Model)


class AsyncTraces:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        project_id: str | None = None,
        started_after: Time | None = None,
        started_before: Time | None = None,
        status: str | builtins.list[str] | None = None,
        name: str | None = None,
        model: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        tag: str | None = None,
        source_id: str | None = None,
        wire: str | builtins.list[str] | None = None,
        cost_usd_min: float | None = None,
        cost_usd_max: float | None = None,
        seconds_min: float | None = None,
        seconds_max: float | None = None,
        q: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> AsyncPage[types.Trace]:
        """Newest first. `q` are words that must all occur in one step."""
        filters = query(
            project_id=project_id,
            **{"started_at:gte": started_after, "started_at:lte": started_before},
            status=status,
            name=name,
            model=model,
            user_id=user_id,
            session_id=session_id,
            tag=tag,
            source_id=source_id,
            wire=wire,
            cost_usd_min=cost_usd_min,
            cost_usd_max=cost_usd_max,
            seconds_min=seconds_min,
            seconds_max=seconds_max,
            q=q,
            page=page,
            page_size=page_size,
            cursor=cursor,
        )
        return await fetch_page(self._transport, Call("GET", "/v1/traces", query=filters), types.Trace)

    async def aggregates(
        self, *, group_by: str | builtins.list[str] | None = None, **filters: Unpack[TraceFilters]
    ) -> types.TraceAggregates:
        """Failures, percentiles, tokens and cost of the newest 10,000 traces that match the filters."""
        given = {_BOUNDS.get(name, name): value for name, value in filters.items()}
        call = Call("GET", "/v1/trace-aggregates", query=query(group_by=group_by, **given))
        return types.TraceAggregates((await self._transport.json(call))["data"])

    async def get(self, trace_id: str, *, sequence: int | None = None) -> types.FullTrace:
        """The trace with all steps. With the `sequence` of a run's event, only the steps that contain the event."""
        call = Call("GET", path("/v1/traces/{}", trace_id), query=query(sequence=sequence))
        return types.FullTrace((await self._transport.json(call))["data"])

    async def tail(self, trace_id: str) -> AsyncTail:
        """Follows a running trace: yields each step, again when it changes, until the trace ends."""
        return await open_tail(self._transport, trace_id)

    async def diff(self, trace_id: str, other: str) -> types.TraceDifference:
        """Compares two traces step by step; steps are paired by their position in the tree."""
        call = Call("GET", path("/v1/traces/{}/diff", trace_id), query=query(other=other))
        return types.TraceDifference((await self._transport.json(call))["data"])

    async def settings(self, *, project_id: str | None = None) -> types.TraceSettings:
        """A project's retention of traces, and the destination and state of its export."""
        call = Call("GET", "/v1/trace-settings", query=query(project_id=project_id))
        return types.TraceSettings((await self._transport.json(call))["data"])

    async def change_settings(
        self,
        *,
        project_id: str | None = None,
        retention_days: float | None = None,
        keep_forever: bool | None = None,
        export: types.TraceExportInput | None = None,
    ) -> types.TraceSettings:
        """Replaces the settings. What is left out gets the server's default, except that headers are kept."""
        body = set_fields(retention_days=retention_days, keep_forever=keep_forever, export=export)
        call = Call("PUT", "/v1/trace-settings", body=body, query=query(project_id=project_id))
        return types.TraceSettings((await self._transport.json(call))["data"])

    async def delete(self, trace_id: str) -> types.Deleted:
        call = Call("DELETE", path("/v1/traces/{}", trace_id), safe=False)
        return types.Deleted(await self._transport.json(call))


class AsyncUsage:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        group_by: str | None = None,
        from_: Time | None = None,
        to: Time | None = None,
        project_id: str | None = None,
        key_id: str | None = None,
        conversation_id: str | None = None,
        run_id: str | None = None,
        model: str | None = None,
        user_id: str | None = None,
        kind: str | None = None,
        knowledgebase_id: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
    ) -> AsyncPage[types.UsageLine]:
        """Sums by the fields of `group_by` ("day,model"), or one total. The default time range is the last 30 days."""
        filters = query(
            group_by=group_by,
            from_=from_,
            to=to,
            project_id=project_id,
            key_id=key_id,
            conversation_id=conversation_id,
            run_id=run_id,
            model=model,
            user_id=user_id,
            kind=kind,
            knowledgebase_id=knowledgebase_id,
            page=page,
            page_size=page_size,
            sort=sort,
        )
        return await fetch_page(self._transport, Call("GET", "/v1/usage", query=filters), types.UsageLine)


class AsyncKeys:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self, *, page: int | None = None, page_size: int | None = None, sort: str | None = None
    ) -> AsyncPage[types.AccessKey]:
        filters = query(page=page, page_size=page_size, sort=sort)
        return await fetch_page(self._transport, Call("GET", "/v1/access-keys", query=filters), types.AccessKey)

    async def create(
        self,
        name: str,
        *,
        org_id: str | None = None,
        project_id: str | None = None,
        expires_at: Time | None = None,
        permissions: builtins.list[str] | None = None,
        rate_limit: int | None = None,
        spending_limit: float | types.SpendingLimitInput | None = None,
        cache_seconds: int | None = None,
        resumable_streams: bool | None = None,
        idempotency_key: str | None = None,
    ) -> types.CreatedAccessKey:
        """Creates a key. Only this response contains the secret, in `key`."""
        body = set_fields(
            name=name,
            org_id=org_id,
            project_id=project_id,
            expires_at=time_text(expires_at),
            permissions=permissions,
            rate_limit=rate_limit,
            spending_limit=spending_limit,
            cache_seconds=cache_seconds,
            resumable_streams=resumable_streams,
        )
        call = Call("POST", "/v1/access-keys", body=body, headers=once(idempotency_key))
        return types.CreatedAccessKey((await self._transport.json(call))["data"])

    async def delete(
        self, key_id: str, *, cascade: bool | None = None, dry_run: bool | None = None
    ) -> types.Revocation:
        """Revokes the key at once. `cascade` also revokes the keys that it created; `dry_run` only lists them."""
        where = path("/v1/access-keys/{}", key_id)
        call = Call("DELETE", where, safe=False, query=query(cascade=cascade, dry_run=dry_run))
        return types.Revocation(await self._transport.json(call))

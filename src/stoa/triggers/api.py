"""Triggers of apps, and the URLs of webhooks, on the api host (contract section 6)."""

from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import JSONResponse, Response

from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    page_of,
    refusals,
    repeated,
)
from stoa.http.bodies import JSON_LIMIT, allow, read_json
from stoa.http.idempotency import IdempotencyKey, fingerprint
from stoa.kernel.errors import NotFound, UnsupportedMediaType
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.storable import as_storable
from stoa.triggers import rules, wire
from stoa.triggers.service import Triggers
from stoa.triggers.types import Delivery


def routes(triggers: Triggers, gate: Gate, public_url: str | None) -> Routes:
    router = Routes(tags=["triggers"])
    reading, writing = gate("apps:read"), gate("apps:write")

    def root(request: Request) -> str:
        return public_url or str(request.base_url)

    @router.get("/v1/apps/{app_id}/triggers", responses=refusals(404))
    async def list_triggers(
        app_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))],
    ) -> DataList[wire.TriggerWire]:
        """The app's triggers, newest first."""
        return page_of(await triggers.list(principal, app_id, page), wire.trigger)

    @router.post("/v1/apps/{app_id}/triggers", responses=refusals(404, 409))
    async def create_trigger(
        request: Request,
        app_id: UUID,
        body: wire.CreateTrigger,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.HookWire]:
        """A draft: it fires once it is activated. The answer alone holds a webhook's URL; a repetition does not."""
        once = repeated(idempotency_key, f"triggers/{app_id}", body)
        made, secret = await triggers.create(principal, app_id, wire.new_trigger(body), once)
        return Data(data=wire.hook(made, secret, root(request)))

    @router.get("/v1/apps/{app_id}/triggers/{trigger_id}", responses=refusals(404))
    async def get_trigger(
        app_id: UUID, trigger_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.TriggerWire]:
        return Data(data=wire.trigger(await triggers.get(principal, app_id, trigger_id)))

    @router.put("/v1/apps/{app_id}/triggers/{trigger_id}", responses=refusals(404))
    async def update_trigger(
        app_id: UUID, trigger_id: UUID, body: wire.UpdateTrigger, principal: Annotated[Principal, writing]
    ) -> Data[wire.TriggerWire]:
        """Config and input transformer. An active schedule goes on with the new times."""
        changes = wire.changes(body, await triggers.get(principal, app_id, trigger_id))
        return Data(data=wire.trigger(await triggers.update(principal, app_id, trigger_id, changes)))

    @router.delete("/v1/apps/{app_id}/triggers/{trigger_id}", responses=refusals(404))
    async def delete_trigger(
        app_id: UUID, trigger_id: UUID, principal: Annotated[Principal, writing]
    ) -> Acknowledgement:
        """With its events. The runs that it started stay."""
        await triggers.delete(principal, app_id, trigger_id)
        return Acknowledgement(message="deleted")

    _moving(router, triggers, gate)

    @router.post("/v1/apps/{app_id}/triggers/{trigger_id}/renew-url", responses=refusals(404))
    async def renew_trigger_url(
        request: Request, app_id: UUID, trigger_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.HookWire]:
        """Another URL for a webhook, shown this once. The old one stops at once."""
        renewed, secret = await triggers.renew_hook(principal, app_id, trigger_id)
        return Data(data=wire.hook(renewed, secret, root(request)))

    _events(router, triggers, gate)
    return router


def _moving(router: Routes, triggers: Triggers, gate: Gate) -> None:
    reading, writing, running = gate("apps:read"), gate("apps:write"), gate("apps:run")

    @router.post("/v1/apps/{app_id}/triggers/{trigger_id}/activate", responses=refusals(404))
    async def activate_trigger(
        app_id: UUID, trigger_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.TriggerWire]:
        """From now on it fires, in the name of the caller. What was due before is not made up for."""
        return Data(data=wire.trigger(await triggers.activate(principal, app_id, trigger_id)))

    @router.post("/v1/apps/{app_id}/triggers/{trigger_id}/deactivate", responses=refusals(404))
    async def deactivate_trigger(
        app_id: UUID, trigger_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.TriggerWire]:
        """Nothing fires any more, and what waits to begin does not. Runs under way go on."""
        return Data(data=wire.trigger(await triggers.deactivate(principal, app_id, trigger_id)))

    @router.post("/v1/apps/{app_id}/triggers/{trigger_id}/run", responses=refusals(404, 409))
    async def run_trigger(
        app_id: UUID,
        trigger_id: UUID,
        principal: Annotated[Principal, running],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.TriggerEventWire]:
        """Fires an active schedule once, at once, beside its due times."""
        route = f"triggers/{trigger_id}/run"
        once = IdempotencyKey(idempotency_key, route, fingerprint({})) if idempotency_key else None
        return Data(data=wire.event(await triggers.run_now(principal, app_id, trigger_id, once)))

    @router.get("/v1/apps/{app_id}/triggers/{trigger_id}/next", responses=refusals(404))
    async def preview_trigger(
        app_id: UUID,
        trigger_id: UUID,
        principal: Annotated[Principal, reading],
        count: Annotated[int, Query(ge=1, le=rules.PREVIEW_MAX, description=f"1 to {rules.PREVIEW_MAX}.")] = 10,
    ) -> Data[list[wire.DueTimeWire]]:
        """The next due times, across shifts of daylight saving; as if it were activated now, where it is not active."""
        trigger = await triggers.get(principal, app_id, trigger_id)
        return Data(data=wire.due(trigger, await triggers.preview(principal, app_id, trigger_id, count)))


def _events(router: Routes, triggers: Triggers, gate: Gate) -> None:
    reading = gate("apps:read")

    @router.get("/v1/apps/{app_id}/triggers/{trigger_id}/events", responses=refusals(404))
    async def list_trigger_events(
        app_id: UUID,
        trigger_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.EVENTS_SORTABLE))],
    ) -> DataList[wire.TriggerEventWire]:
        """The log of its firings, newest first; 30 days are kept."""
        return page_of(await triggers.events(principal, app_id, trigger_id, page), wire.event)

    @router.get("/v1/apps/{app_id}/triggers/{trigger_id}/events/{event_id}", responses=refusals(404))
    async def get_trigger_event(
        app_id: UUID, trigger_id: UUID, event_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.TriggerEventWire]:
        return Data(data=wire.event(await triggers.event(principal, app_id, trigger_id, event_id)))


def hook_routes(triggers: Triggers) -> Routes:
    """The URLs of webhooks. The secret in the path is the credential."""
    router = Routes(tags=["triggers"])
    accepted = {"model": Data[wire.TriggerEventWire], "description": "Stored; its run begins in a moment."}
    known = {"model": Data[wire.TriggerEventWire], "description": "This delivery came before; nothing new begins."}

    @router.post(
        "/v1/hooks/{secret}", response_model=None, responses={200: known, 202: accepted, **refusals(404, 409, 413, 415)}
    )
    async def receive_webhook(request: Request, secret: str) -> Response:
        """Takes a delivery: JSON, or a form. An object is the event's payload; any other value becomes its `body`."""
        if not secret.startswith(rules.HOOK_PREFIX):
            raise NotFound("There is no webhook at this URL; it may have been renewed or deleted.")
        allow(request.scope, JSON_LIMIT)
        body = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(headers, body, await _payload(headers.get("content-type", ""), body))
        event, new = await triggers.receive(secret, delivery)
        shown = Data(data=wire.event(event)).model_dump(mode="json", exclude_none=True)
        return JSONResponse(shown, 202 if new else 200)

    return router


async def _payload(content_type: str, body: bytes) -> dict[str, Any]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1_000)
        return {as_storable(name): as_storable(value) for name, value in fields}
    if not body.strip():
        return {}
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"A webhook takes JSON or a form; this delivery came as {kind[:100]}.")
    value = await read_json(body, JSON_LIMIT)
    return dict(value) if isinstance(value, dict) else {"body": value}

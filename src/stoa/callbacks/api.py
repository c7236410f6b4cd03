"""Callbacks on the api host: their outcomes, replays, and signing secrets."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.callbacks import wire
from stoa.callbacks.service import Callbacks
from stoa.callbacks.types import CallbackStatus
from stoa.http import Acknowledgement, Data, DataList, Gate, Paging, Routes, page_of, refusals
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

Statuses = Annotated[list[CallbackStatus] | None, Query(description="Repeatable.")]


def routes(callbacks: Callbacks, gate: Gate) -> Routes:
    router = Routes(tags=["apps"])

    @router.get("/v1/runs/{run_id}/callbacks", responses=refusals(404))
    async def list_callbacks(
        run_id: UUID, principal: Annotated[Principal, gate("runs:read")]
    ) -> Data[list[wire.CallbackWire]]:
        """The run's callbacks, each with its attempts."""
        return Data(data=[wire.callback(one) for one in await callbacks.of_run(principal, run_id)])

    @router.post("/v1/runs/{run_id}/callbacks/{callback_id}/replay", responses=refusals(404, 409))
    async def replay_callback(
        run_id: UUID, callback_id: UUID, principal: Annotated[Principal, gate("runs:write")]
    ) -> Acknowledgement:
        """Sends it once more, with the same `webhook-id`: a receiver that has seen it leaves it be."""
        await callbacks.replay(principal, run_id, callback_id)
        return Acknowledgement(message="ok")

    @router.get("/v1/apps/{app_id}/callbacks", responses=refusals(404))
    async def list_callbacks_of_app(
        app_id: UUID,
        principal: Annotated[Principal, gate("runs:read")],
        page: Annotated[PageRequest, Depends(Paging())],
        status: Statuses = None,
    ) -> DataList[wire.CallbackWire]:
        """The callbacks of all runs of an app, the newest first, each with its attempts."""
        return page_of(await callbacks.of_app(principal, app_id, status, page), wire.callback)

    @router.get("/v1/apps/{app_id}/signing-secret", responses=refusals(404))
    async def get_signing_secret(
        app_id: UUID, principal: Annotated[Principal, gate("apps:write")]
    ) -> Data[wire.SigningSecretWire]:
        """What receivers of the app's callbacks check their signature with."""
        return Data(data=wire.signing_secret(await callbacks.signing_secret(principal, app_id)))

    @router.post("/v1/apps/{app_id}/signing-secret/rotate", responses=refusals(404))
    async def rotate_signing_secret(
        app_id: UUID, principal: Annotated[Principal, gate("apps:write")]
    ) -> Data[wire.SigningSecretWire]:
        """A new one. For a day messages carry a signature of each, so that no receiver misses one."""
        return Data(data=wire.signing_secret(await callbacks.rotate(principal, app_id)))

    return router

"""An app's runs over the api host: `POST /v1/apps/{app_id}/invoke` (contract section 6)."""

from typing import Annotated
from uuid import UUID

from stoa.apps import AppCaller
from stoa.http import Data, Gate, IdempotencyKeyHeader, Routes, refusals
from stoa.http.bodies import MESSAGE_LIMIT
from stoa.http.routing import limited
from stoa.kernel.principal import Principal
from stoa.runs import app_wire
from stoa.runs.host import AppRuns
from stoa.runs.ports import AppProjects


def invoke_routes(app_runs: AppRuns, projects: AppProjects, gate: Gate) -> Routes:
    """The way to an app over the api host, for credentials that its own host does not take."""
    router = Routes(tags=["apps"])

    @router.post("/v1/apps/{app_id}/invoke", responses=refusals(404, 409))
    @limited(MESSAGE_LIMIT)
    async def invoke(
        app_id: UUID,
        body: app_wire.Fields,
        principal: Annotated[Principal, gate("apps:run")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[app_wire.AppRunWire]:
        """Runs the app and waits for the end. The body is the app's input, without an envelope."""
        caller = AppCaller(principal, app_id, await projects.project_of(principal, app_id))
        started = await app_runs.start(caller, app_wire.StartRun(input=body.root), (), idempotency_key)
        return await app_runs.shown(caller, await app_runs.runs.ended(principal, started.id))

    return router

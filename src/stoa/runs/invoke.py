"""An app's runs over the api host: invoking it, what its runs were given, and its figures (contract section 6)."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query, Request
from pydantic import AwareDatetime, ValidationError

from stoa.apps import AppCaller
from stoa.http import Data, Gate, IdempotencyKeyHeader, Routes, refusals
from stoa.http.bodies import MESSAGE_LIMIT, allow, read_json
from stoa.http.routing import limited
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal
from stoa.runs import app_wire, rules
from stoa.runs.host import AppRuns
from stoa.runs.ports import AppProjects, Published, Uploads

OTHER_METHODS: Final = ["GET", "PUT", "PATCH", "DELETE"]
PUBLIC_URL_PATH: Final = "/v1/files/{}/content?ticket={}"


def invoke_routes(app_runs: AppRuns, projects: AppProjects, gate: Gate) -> Routes:
    """The way to an app over the api host, for credentials that its own host does not take."""
    router = Routes(tags=["apps"])

    async def invoked(
        principal: Principal, app_id: UUID, fields: dict[str, Any], key: str | None
    ) -> Data[app_wire.AppRunWire]:
        caller = AppCaller(principal, app_id, await projects.project_of(principal, app_id))
        started = await app_runs.start(caller, app_wire.StartRun(input=fields), (), key)
        return await app_runs.shown(caller, await app_runs.runs.ended(principal, started.id))

    @router.post("/v1/apps/{app_id}/invoke", responses=refusals(404, 409))
    @limited(MESSAGE_LIMIT)
    async def invoke(
        app_id: UUID,
        body: app_wire.Fields,
        principal: Annotated[Principal, gate("apps:run")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[app_wire.AppRunWire]:
        """Runs the app and waits for the end. The body is the app's input, without an envelope. Other methods do the
        same; one without a body gives no fields."""
        return await invoked(principal, app_id, body.root, idempotency_key)

    @router.api_route("/v1/apps/{app_id}/invoke", methods=OTHER_METHODS, include_in_schema=False)
    async def invoke_by_another_method(
        request: Request,
        app_id: UUID,
        principal: Annotated[Principal, gate("apps:run")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[app_wire.AppRunWire]:
        allow(request.scope, MESSAGE_LIMIT)
        body = await request.body()
        try:
            fields = app_wire.Fields.model_validate(await read_json(body, MESSAGE_LIMIT) if body else {})
        except ValidationError as error:
            raise BadRequest.field("body", "must be an object") from error
        return await invoked(principal, app_id, fields.root, idempotency_key)

    return router


def figure_routes(
    app_runs: AppRuns,
    projects: AppProjects,
    uploads: Uploads,
    published: Published,
    gate: Gate,
    clock: Clock,
    public_url: str | None,
) -> Routes:
    router = Routes(tags=["apps"])
    reading = gate("runs:read")

    @router.get("/v1/apps/{app_id}/metrics", responses=refusals(404))
    async def get_app_metrics(
        app_id: UUID,
        principal: Annotated[Principal, reading],
        start_time: Annotated[AwareDatetime | None, Query(description="A day ago unless it is given.")] = None,
        end_time: Annotated[AwareDatetime | None, Query(description="Now unless it is given.")] = None,
        interval: Annotated[str, Query(max_length=10, description="Of a point: 5m, 1h, 1d.")] = "1h",
    ) -> Data[app_wire.AppMetricsWire]:
        """Runs, how they ended, tokens, cost and how long they took, of each interval that had any."""
        await projects.project_of(principal, app_id)
        ends: datetime = end_time or clock.now()
        begins: datetime = start_time or ends - timedelta(days=1)
        seconds = rules.interval_seconds(interval, begins, ends)
        found = await app_runs.runs.figures(principal, app_id, begins, ends, seconds)
        return Data(data=app_wire.metrics(found, begins, ends, seconds))

    @router.get("/v1/apps/{app_id}/runs/{run_id}/artifacts", responses=refusals(404))
    async def list_run_artifacts(
        request: Request, app_id: UUID, run_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[list[app_wire.RunArtifactWire]]:
        """The run's files and what it has published, each with a link that downloads it without a header for ten
        minutes."""
        caller = AppCaller(principal, app_id, await projects.project_of(principal, app_id))
        run = await app_runs.one(caller, run_id)
        root = (public_url or str(request.base_url)).rstrip("/")
        made: list[app_wire.RunArtifactWire] = []
        for part in run.input.get("content", ()):
            if part["type"] == "file":
                file = await uploads.file(principal, UUID(part["file"]["id"]))
                ticket, ends = uploads.link(principal, file.id)
                made.append(app_wire.input_file(file, f"{root}{PUBLIC_URL_PATH.format(file.id, ticket)}", ends))
        made += [app_wire.publication(one, root) for one in await published.of_run(principal, run_id)]
        return Data(data=made)

    return router

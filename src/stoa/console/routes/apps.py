"""Apps: the list, and one app with its workflow, metrics, deployments, sessions and rollback."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts, graphs
from stoa.console.api import page
from stoa.console.client import Refused
from stoa.console.examples import Call
from stoa.console.routes import projects
from stoa.console.view import View

PAGE_SIZE: Final = 25
DAYS: Final = 30
APP: Final = "/console/apps/{id:uuid}"
CALLBACK_STATES: Final = ("waiting", "pending", "running", "delivered", "failed")
EMPTY: Final[Mapping[str, Any]] = {"data": [], "pagination": {"page_count": 0, "total_count": 0}}


def routes() -> Sequence[Route]:
    return [
        page("/console/apps", _list),
        page(APP, _app),
        page(f"{APP}/deployments", _deployments),
        page(f"{APP}/rollback", _rollback),
        page(f"{APP}/callbacks", _callbacks),
        page(f"{APP}/sessions", _sessions),
        page(f"{APP}/sessions/{{session:uuid}}", _session),
    ]


async def app_of(view: View) -> Mapping[str, Any]:
    """Raises Refused if there is no such app."""
    found: Mapping[str, Any] = (await view.api.get(f"/v1/apps/{view.request.path_params['id']}"))["data"]
    return found


async def _list(view: View) -> Response:
    archived = view.request.query_params.get("archived") == "true"
    project, all_projects, why = await projects.chosen(view)
    query = {
        "page": view.number("page"), "page_size": PAGE_SIZE, "project_id": project, "archived": str(archived).lower(),
    }  # fmt: skip
    asked = view.optional("/v1/apps", query) if project else _nothing(why)
    (found, problem), (workflows, no_workflows) = await asyncio.gather(
        asked, view.optional("/v1/workflows", {"page_size": 100, "project_id": project})
    )
    return view.page(
        "apps.html", "apps", view.translate("Apps"),
        [Call("GET", "/v1/apps", query), Call("GET", "/v1/workflows", {"project_id": project})],
        view=view, problem=problem, found=(found or EMPTY)["data"], pagination=(found or EMPTY)["pagination"],
        workflows=(workflows or EMPTY)["data"], workflows_problem=no_workflows,
        project=project, projects=all_projects, archived=archived,
    )  # fmt: skip


async def _nothing(why: str | None) -> tuple[Any, str | None]:
    return None, why


async def _app(view: View) -> Response:
    app = await app_of(view)
    now = datetime.now(UTC)
    begin = (now - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    span = {
        "interval": "1d", "start_time": begin.isoformat().replace("+00:00", "Z"),
        "end_time": now.isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    version_path = f"/v1/workflows/{app['workflow_id']}/versions/{app['workflow_version_id']}"
    (version, no_version), (figures, no_figures), (needs, _), (triggers, _), (newest, _) = await view.several(
        (version_path, None),
        (f"/v1/apps/{app['id']}/metrics", span),
        (f"/v1/workflows/{app['workflow_id']}/requirements", {"page_size": 50}),
        (f"/v1/apps/{app['id']}/triggers", {"page_size": 50}),
        (f"/v1/workflows/{app['workflow_id']}/versions", {"page_size": 1}),
    )
    drawing = version["data"] if version else {}
    graph = await asyncio.to_thread(graphs.drawn, drawing.get("flow"), drawing.get("flow_ui"))
    latest = newest["data"][0] if newest and newest["data"] else None
    return view.page(
        "app.html", "apps", app["name"],
        [
            Call("GET", f"/v1/apps/{app['id']}"),
            Call("GET", f"/v1/apps/{app['id']}/metrics", span),
            Call("POST", f"/apps/{app['id']}/v1/runs", body={"input": {"input": "Hello!"}}),
        ],
        app=app, tab="app", flow=drawing.get("flow"), flow_problem=no_version, graph=graph,
        draft=graphs.draft(drawing.get("flow")),
        requirements=needs["data"] if needs else [], triggers=triggers["data"] if triggers else [],
        newer=latest if latest and latest["version"] > app["workflow_version"]["version"] else None,
        figures_problem=no_figures, days=DAYS, **_figures(figures["data"]["series"] if figures else [], now),
    )  # fmt: skip


def _figures(series: Sequence[Mapping[str, Any]], now: datetime) -> Mapping[str, Any]:
    days = {one["time"][:10]: one for one in series}

    def of(name: str, factor: float = 1.0) -> charts.Columns:
        values = {day: (one.get(name) or 0.0) * factor for day, one in days.items()}
        return charts.columns(values, now.date(), DAYS)

    return {
        "runs": of("runs"), "failures": of("failed"), "cost": of("cost_usd"),
        "slow": of("duration_ms_p95", 0.001),
    }  # fmt: skip


async def _deployments(view: View) -> Response:
    app = await app_of(view)
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    path = f"/v1/apps/{app['id']}/deployments"
    (found, problem), (versions, _) = await view.several(
        (path, query), (f"/v1/workflows/{app['workflow_id']}/versions", {"page_size": 50})
    )
    return view.page(
        "deployments.html", "apps", app["name"],
        [
            Call("GET", path, query),
            Call("POST", f"/v1/apps/{app['id']}/deploy", body={"workflow_id": app["workflow_id"]}),
        ],
        view=view, app=app, tab="deployments", problem=problem, found=(found or EMPTY)["data"],
        pagination=(found or EMPTY)["pagination"], versions=versions["data"] if versions else [],
    )  # fmt: skip


async def _rollback(view: View) -> Response:
    """Requests a dry run, and shows what the rollback would restore."""
    app = await app_of(view)
    wanted = view.request.query_params.get("deployment")
    body = {"dry_run": True, **({"deployment_id": wanted} if wanted else {})}
    path = f"/v1/apps/{app['id']}/rollback"
    try:
        plan, problem = (await view.api.post(path, body))["data"], None
    except Refused as refusal:
        plan, problem = None, refusal.message
    return view.page(
        "rollback.html", "apps", app["name"],
        [Call("POST", path, body=body), Call("POST", path, body={**body, "dry_run": False})],
        app=app, tab="deployments", plan=plan, problem=problem,
    )  # fmt: skip


async def _callbacks(view: View) -> Response:
    app = await app_of(view)
    status = view.request.query_params.get("status")
    status = status if status in CALLBACK_STATES else None
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, "status": status}
    path = f"/v1/apps/{app['id']}/callbacks"
    found, problem = await view.optional(path, query)
    return view.page(
        "callbacks.html", "apps", app["name"],
        [Call("GET", path, query), Call("POST", "/v1/runs/…/callbacks/…/replay")],
        view=view, app=app, tab="callbacks", status=status, statuses=CALLBACK_STATES, problem=problem,
        found=(found or EMPTY)["data"], pagination=(found or EMPTY)["pagination"],
    )  # fmt: skip


async def _sessions(view: View) -> Response:
    app = await app_of(view)
    user = view.request.query_params.get("user", "").strip()[:255]
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, "user_id": user or None}
    path = f"/v1/apps/{app['id']}/sessions"
    found, problem = await view.optional(path, query)
    return view.page(
        "sessions.html", "apps", app["name"], [Call("GET", path, query)],
        view=view, app=app, tab="sessions", user=user, problem=problem, found=(found or EMPTY)["data"],
        pagination=(found or EMPTY)["pagination"],
    )  # fmt: skip


async def _session(view: View) -> Response:
    app = await app_of(view)
    session, user = str(view.request.path_params["session"]), view.request.query_params.get("user")
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, "user_id": user or None}
    path = f"/v1/apps/{app['id']}/sessions/{session}/messages"
    found = await view.api.get(path, query)
    return view.page(
        "session.html", "apps", app["name"], [Call("GET", path, query)],
        view=view, app=app, tab="sessions", session=session, user=user, found=found["data"],
        pagination=found["pagination"],
    )  # fmt: skip

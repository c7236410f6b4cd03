"""Runs: the list, and one run shown from its journal."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts, graphs
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 25
EVENTS: Final = 100
DEPLOYMENTS_MAX: Final = 50
NODE_EVENTS: Final = 500
NODE_PAGES_MAX: Final = 6
STATUSES: Final = ("created", "started", "awaiting_input", "completed", "failed", "canceled")


def routes() -> Sequence[Route]:
    return [page("/console/runs", _list), page("/console/runs/{id:uuid}", _run)]


async def _list(view: View) -> Response:
    status = view.request.query_params.get("status")
    status = status if status in STATUSES else None
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, "status": status}
    found, problem = await view.optional("/v1/runs", query)
    return view.page(
        "runs.html",
        "runs",
        view.translate("Runs"),
        [Call("GET", "/v1/runs", query)],
        view=view,
        problem=problem,
        status=status,
        statuses=STATUSES,
        found=[{**one, "said": said(one), "seconds": lasted(one)} for one in found["data"]] if found else [],
        pagination=found["pagination"] if found else {"page_count": 0},
    )


async def _run(view: View) -> Response:
    run_id = str(view.request.path_params["id"])
    where = f"/v1/runs/{run_id}"
    run = (await view.api.get(where))["data"]
    number = view.number("page")
    (events, problem), (trace, _), (calls, _), (models, _), (callbacks, _) = await view.several(
        (f"{where}/events", {"page": number, "page_size": EVENTS}),
        (f"/v1/traces/{run_id}", None),
        (f"{where}/tool-calls", None),
        ("/v1/router/models", {"page_size": 500}),
        (f"{where}/callbacks", None),
    )
    graph, states = await _graph(view, run, events)
    shown = events["data"] if events else []
    spans = trace["data"]["runs"] if trace else []
    names = {model["id"]: model["name"] for model in models["data"]} if models else {}
    return view.page(
        "run.html",
        "runs",
        view.translate("Run"),
        [
            Call("GET", where),
            Call("GET", f"{where}/events", {"page_size": EVENTS}),
            Call("GET", f"/v1/traces/{run_id}"),
        ],
        view=view,
        run=run,
        said=said(run),
        seconds=lasted(run),
        model=names.get(run.get("model_id"), run.get("model_id")),
        timeline=charts.timeline(spans, _waits(shown), datetime.now(UTC)),
        events=shown,
        problem=problem,
        pagination=events["pagination"] if events else {"page_count": 0},
        tool_calls=calls["data"] if calls else [],
        callbacks=callbacks["data"] if callbacks else [],
        graph=graph,
        states=states,
        recoveries=[event for event in shown if event["type"] == "run.recovered"],
    )


async def _graph(
    view: View, run: Mapping[str, Any], events: Mapping[str, Any] | None
) -> tuple[graphs.Graph | None, Mapping[str, str]]:
    """The graph that an app's run executed, with the state of each node. It is the graph of the deployment that was
    current when the run was created. None if the run has no graph, or its events name nodes that the graph lacks."""
    if not run.get("app_id") or not events:
        return None, {}
    states = await _node_states(view, run["id"], events)
    deployments, _ = await view.optional(f"/v1/apps/{run['app_id']}/deployments", {"page_size": DEPLOYMENTS_MAX})
    asked = charts.moment(run["created_at"])
    newest = next(
        (one for one in (deployments or {"data": ()})["data"] if charts.moment(one["created_at"]) <= asked), None
    )
    if not states or newest is None:
        return None, {}
    version, _ = await view.optional(f"/v1/workflows/{newest['workflow_id']}/versions/{newest['workflow_version_id']}")
    drawing = version["data"] if version else {}
    graph = await asyncio.to_thread(graphs.drawn, drawing.get("flow"), drawing.get("flow_ui"))
    known = {box.id for box in graph.boxes}
    return (graph, states) if known & set(states) else (None, {})


async def _node_states(view: View, run_id: str, first: Mapping[str, Any]) -> Mapping[str, str]:
    """Node → its state by its last event, from at most `NODE_PAGES_MAX` pages of the journal."""
    found: dict[str, str] = {}
    answers = [first]
    if first["pagination"]["page_count"] > 1:
        pages = min(NODE_PAGES_MAX, -(-first["pagination"]["total_count"] // NODE_EVENTS))
        asked = [(f"/v1/runs/{run_id}/events", {"page": one + 1, "page_size": NODE_EVENTS}) for one in range(pages)]
        answers = [answer for answer, _ in await view.several(*asked) if answer]
    for event in (event for answer in answers for event in answer["data"]):
        if event["type"].startswith("workflow.node.") and not event["data"].get("parent_id"):
            found[str(event["data"]["id"])] = event["type"].removeprefix("workflow.node.")
    return found


def _waits(events: Sequence[Mapping[str, Any]]) -> Sequence[tuple[str, str | None]]:
    """The times when the run waited for a person: (from, until)."""
    found: list[tuple[str, str | None]] = []
    since: str | None = None
    for event in events:
        if event["type"] == "run.paused":
            since = event["timestamp"]
        elif since is not None and event["type"].startswith("run."):
            found.append((since, event["timestamp"]))
            since = None
    return [*found, (since, None)] if since else found


def said(run: Mapping[str, Any]) -> str:
    """The user's message, on one line."""
    parts = run["input"].get("content")
    words = (
        " ".join(part.get("text", "") for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ""
    )
    return " ".join((words or str(run["input"] or "")).split())[:160]


def lasted(run: Mapping[str, Any]) -> float | None:
    if not run.get("started_at") or not run.get("ended_at"):
        return None
    return (charts.moment(run["ended_at"]) - charts.moment(run["started_at"])).total_seconds()

"""Traces: the list with filters, one trace as a tree with a timeline, and two side by side."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import trace_trees
from stoa.console.api import page
from stoa.console.client import Query
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 25
STATUSES: Final = ("succeeded", "failed", "canceled", "running")
WIRES: Final = ("stoa", "sdk", "otlp")
SINCE: Final[Mapping[str, timedelta]] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
TEXTS: Final = ("q", "name", "model", "user_id", "session_id", "tag")
NUMBERS: Final = ("cost_usd_min", "seconds_min")


def routes() -> Sequence[Route]:
    return [
        page("/console/traces", _list),
        page("/console/traces/compare", _compare),
        page("/console/traces/{id:path}", _trace),
    ]


async def _list(view: View) -> Response:
    given = _given(view)
    since = SINCE.get(given.get("since", ""))
    filters: dict[str, str | int | list[str] | None] = {name: value for name, value in given.items() if name != "since"}
    if since is not None:
        filters["started_at:gte"] = (datetime.now(UTC) - since).isoformat(timespec="seconds").replace("+00:00", "Z")
    cursor = view.request.query_params.get("cursor", "")[:500] or None
    query: Query = {"page_size": PAGE_SIZE, "cursor": cursor, **filters}
    (found, problem), (summed, _), (models, _) = await view.several(
        ("/v1/traces", query),
        ("/v1/trace-aggregates", filters),
        ("/v1/trace-aggregates", {**filters, "group_by": ["model"]}),
    )
    groups = summed["data"]["groups"] if summed else []
    return view.page(
        "traces.html",
        "traces",
        view.translate("Traces"),
        [Call("GET", "/v1/traces", query), Call("GET", "/v1/trace-aggregates", {**filters, "group_by": "model"})],
        view=view,
        problem=problem,
        given=given,
        statuses=STATUSES,
        wires=WIRES,
        spans_of_time=tuple(SINCE),
        whole=groups[0] if groups else None,
        models=models["data"]["groups"][:20] if models else [],
        found=found["data"] if found else [],
        next_cursor=found["pagination"].get("next_cursor") if found else None,
        cursor=cursor,
    )


def _given(view: View) -> dict[str, str]:
    """The filters in the URL. Unknown parameters are left out."""
    asked = view.request.query_params
    given = {name: asked.get(name, "").strip()[:200] for name in TEXTS}
    given |= {name: asked.get(name, "") for name in NUMBERS if _number(asked.get(name, ""))}
    for name, allowed in (("status", STATUSES), ("wire", WIRES), ("since", tuple(SINCE))):
        if asked.get(name) in allowed:
            given[name] = asked[name]
    return {name: value for name, value in given.items() if value}


def _number(text: str) -> bool:
    return len(text) < 16 and text.isascii() and text.replace(".", "", 1).isdigit()


async def _trace(view: View) -> Response:
    trace_id = view.request.path_params["id"]
    path = f"/v1/traces/{quote(trace_id, safe='')}"
    spans: Sequence[Mapping[str, Any]] = (await view.api.get(path))["data"]["runs"]
    tree = trace_trees.tree(spans, datetime.now(UTC))
    root = tree.rows[0].span if tree.rows else {}
    of_run = (root.get("metadata") or {}).get("run_id")
    run = (await view.optional(f"/v1/runs/{of_run}"))[0] if of_run else None
    return view.page(
        "trace.html",
        "traces",
        root.get("name") or view.translate("Trace"),
        [Call("GET", path), Call("GET", f"{path}/stream")],
        trace_id=trace_id,
        tail=f"{path}/stream" if tree.status == "running" else None,
        tree=tree,
        root=root,
        models=sorted({span["model"] for span in spans if span.get("model")}),
        run=run["data"] if run else None,
    )


async def _compare(view: View) -> Response:
    chosen = view.request.query_params.getlist("trace")
    if len(chosen) != 2:
        found, problem = await view.optional("/v1/traces", {"page_size": PAGE_SIZE})
        return view.page(
            "trace-diff.html",
            "traces",
            view.translate("Compare traces"),
            difference=None,
            newest=found["data"] if found else [],
            problem=problem,
            left_id="",
            right_id="",
        )
    path, query = f"/v1/traces/{quote(chosen[0], safe='')}/diff", {"other": chosen[1]}
    found = (await view.api.get(path, query))["data"]
    return view.page(
        "trace-diff.html",
        "traces",
        view.translate("Compare traces"),
        [Call("GET", path, query)],
        difference=found,
        changes={
            kind: sum(step["change"] == kind for step in found["steps"])
            for kind in ("same", "changed", "removed", "added")
        },
        left_id=chosen[0],
        right_id=chosen[1],
    )

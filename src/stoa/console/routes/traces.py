"""Traces: the list, and one as a tree over time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 25
STATUSES: Final = ("succeeded", "failed", "canceled", "running")


def routes() -> Sequence[Route]:
    return [page("/console/traces", _list), page("/console/traces/{id:path}", _trace)]


async def _list(view: View) -> Response:
    status = view.request.query_params.get("status")
    status = status if status in STATUSES else None
    name = view.request.query_params.get("name", "").strip()[:200]
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, "status": status, "name": name or None}
    found, problem = await view.optional("/v1/traces", query)
    return view.page(
        "traces.html",
        "traces",
        view.translate("Traces"),
        [Call("GET", "/v1/traces", query)],
        view=view,
        problem=problem,
        status=status,
        statuses=STATUSES,
        words=name,
        found=found["data"] if found else [],
        pagination=found["pagination"] if found else {"page_count": 0},
    )


async def _trace(view: View) -> Response:
    path = f"/v1/traces/{quote(view.request.path_params['id'], safe='')}"
    spans = (await view.api.get(path))["data"]["runs"]
    return view.page(
        "trace.html",
        "traces",
        spans[0]["name"] if spans else view.translate("Trace"),
        [Call("GET", path)],
        spans=spans,
        timeline=charts.timeline(spans, (), datetime.now(UTC)),
    )

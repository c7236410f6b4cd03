"""The doctor: the server's invariants, checked against the database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

SPANS: Final = {"day": 1, "week": 7, "all": None}
"""Time range of the checks, in days."""


def routes() -> Sequence[Route]:
    return [page("/console/doctor", _doctor)]


async def _doctor(view: View) -> Response:
    span = view.request.query_params.get("since")
    span = span if span in SPANS else "day"
    days = SPANS[span]
    since = datetime.now(UTC) - timedelta(days=days) if days else None
    query = {"since": since.isoformat(timespec="seconds").replace("+00:00", "Z")} if since else {}
    found, problem = await view.optional("/v1/doctor", query)
    report = found["data"] if found else None
    checks = sorted(report["checks"], key=lambda one: (not one["count"], one["status"] == "complete")) if report else []
    return view.page(
        "doctor.html", "overview", view.translate("Doctor"), [Call("GET", "/v1/doctor", query)],
        report=report, checks=checks, problem=problem, span=span, spans=tuple(SPANS),
    )  # fmt: skip

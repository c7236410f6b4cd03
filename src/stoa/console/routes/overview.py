"""The overview: is anything wrong, and what does it cost?"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.routes.runs import said
from stoa.console.view import View

DAYS: Final = 30
FAILED: Final = 100
GROUPS: Final = ("model", "key_id", "user_id", "kind")


def routes() -> Sequence[Route]:
    return [page("/console", _overview), page("/console/overview", _overview), page("/console/usage", _usage)]


async def _overview(view: View) -> Response:
    now = datetime.now(UTC)
    (running, why), (waiting, _), (failed, _), (usage, no_usage), (doctor, no_doctor), (bases, _) = await view.several(
        ("/v1/runs", {"status": ["created", "started"], "page_size": 10}),
        ("/v1/runs", {"status": "awaiting_input", "page_size": 10}),
        ("/v1/runs", {"status": "failed", "page_size": FAILED}),
        ("/v1/usage", {"group_by": "day", "page_size": DAYS + 1}),
        ("/v1/doctor", {"since": (now - timedelta(days=1)).isoformat().replace("+00:00", "Z")}),
        ("/v1/knowledgebases", {"page_size": 25}),
    )
    since = now - timedelta(days=1)
    recent = [run for run in (failed or {"data": []})["data"] if charts.moment(run["created_at"]) >= since]
    broken = await _failed_items(view, bases["data"] if bases else [])
    return view.page(
        "overview.html",
        "overview",
        view.translate("Overview"),
        [
            Call("GET", "/v1/runs", {"status": "failed"}),
            Call("GET", "/v1/usage", {"group_by": "day"}),
            Call("GET", "/v1/doctor"),
        ],
        running=[{**run, "said": said(run)} for run in running["data"]] if running else [],
        running_count=running["pagination"]["total_count"] if running else None,
        running_problem=why,
        waiting=[{**run, "said": said(run)} for run in waiting["data"]] if waiting else [],
        waiting_count=waiting["pagination"]["total_count"] if waiting else None,
        failed_count=len(recent) if failed else None,
        failed_more=len(recent) == FAILED,
        reasons=_reasons(recent),
        broken=broken,
        usage_problem=no_usage,
        doctor=doctor["data"] if doctor else None,
        doctor_problem=no_doctor,
        **_by_day(usage["data"] if usage else [], now),
    )


def _reasons(failed: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Failed runs by what went wrong, the most frequent first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in failed:
        groups.setdefault((run.get("error") or {}).get("code", "unknown"), []).append(run)
    return [
        {
            "code": code,
            "count": len(runs),
            "message": (runs[0].get("error") or {}).get("message", ""),
            "run": runs[0]["id"],
        }
        for code, runs in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


async def _failed_items(view: View, bases: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    answers = await view.several(
        *((f"/v1/knowledgebases/{base['id']}/items", {"status": "failed", "page_size": 1}) for base in bases)
    )
    counts = [
        (base, answer["pagination"]["total_count"]) for base, (answer, _) in zip(bases, answers, strict=True) if answer
    ]
    return [{"id": base["id"], "name": base["name"], "count": count} for base, count in counts if count]


def _by_day(rows: Sequence[Mapping[str, Any]], now: datetime) -> Mapping[str, Any]:
    days = {row["day"]: row for row in rows if row.get("day")}
    return {
        "cost": charts.columns({day: row["cost_usd"] for day, row in days.items()}, now.date(), DAYS),
        "tokens": charts.columns({day: float(row["total_tokens"]) for day, row in days.items()}, now.date(), DAYS),
        "calls_made": charts.columns({day: float(row["calls"]) for day, row in days.items()}, now.date(), DAYS),
        "unpriced": sum(row["unpriced_calls"] for row in rows),
        "days": DAYS,
    }


async def _usage(view: View) -> Response:
    group = view.request.query_params.get("by")
    group = group if group in GROUPS else GROUPS[0]
    now = datetime.now(UTC)
    (usage, problem), (groups, _), (keys, _) = await view.several(
        ("/v1/usage", {"group_by": "day", "page_size": DAYS + 1}),
        ("/v1/usage", {"group_by": group, "sort": "-cost_usd,-calls", "page_size": 50}),
        ("/v1/access-keys", {"page_size": 100}),
    )
    names = {key["id"]: key["name"] for key in keys["data"]} if keys else {}
    rows = [{**row, "name": names.get(row.get(group), row.get(group))} for row in (groups["data"] if groups else [])]
    return view.page(
        "usage.html",
        "usage",
        view.translate("Usage"),
        [Call("GET", "/v1/usage", {"group_by": "day"}), Call("GET", "/v1/usage", {"group_by": group})],
        problem=problem,
        group=group,
        groups=GROUPS,
        rows=rows,
        **_by_day(usage["data"] if usage else [], now),
    )

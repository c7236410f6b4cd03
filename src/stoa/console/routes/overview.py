"""The overview: failures, durations, cost, and keys near their limits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.routes.runs import lasted, said
from stoa.console.view import View

DAYS: Final = 30
FAILED: Final = 100
TIMED: Final = 50
HOURS: Final = 24
LIMITED_MAX: Final = 20
GROUPS: Final = ("model", "key_id", "project_id", "user_id", "kind")


def routes() -> Sequence[Route]:
    return [
        page("/console", _overview),
        page("/console/overview", _overview),
        page("/console/overview/doctor", _doctor),
        page("/console/usage", _usage),
    ]


async def _overview(view: View) -> Response:
    now = datetime.now(UTC)
    (
        (running, why),
        (waiting, _),
        (failed, _),
        (done, _),
        (usage, no_usage),
        (bases, _),
    ) = await view.several(
        ("/v1/runs", {"status": ["created", "started"], "page_size": 10}),
        ("/v1/runs", {"status": "awaiting_input", "page_size": 10}),
        ("/v1/runs", {"status": "failed", "page_size": FAILED}),
        ("/v1/runs", {"status": "completed", "page_size": TIMED}),
        ("/v1/usage", {"group_by": "day", "page_size": DAYS + 1}),
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
        failures=_by_hour((failed or {"data": []})["data"], now),
        **_times(done["data"] if done else []),
        **_by_day(usage["data"] if usage else [], now),
    )


async def _doctor(view: View) -> Response:
    """The doctor's line. The page loads it separately, because the checks read all data of a day."""
    since = datetime.now(UTC) - timedelta(days=1)
    doctor, problem = await view.optional("/v1/doctor", {"since": since.isoformat().replace("+00:00", "Z")})
    return view.page(
        "overview-doctor.html", "", view.translate("Doctor"),
        doctor=doctor["data"] if doctor else None, doctor_problem=problem,
    )  # fmt: skip


def _by_hour(runs: Sequence[Mapping[str, Any]], now: datetime) -> charts.Columns:
    """Failed runs of the last day, by the hour of their creation."""
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    hours = [first + timedelta(hours=index) for index in range(HOURS)]
    counts = dict.fromkeys(hours, 0.0)
    for run in runs:
        hour = charts.moment(run["created_at"]).replace(minute=0, second=0, microsecond=0)
        if hour in counts:
            counts[hour] += 1
    return charts.latest([(hour.strftime("%H:%M UTC"), counts[hour]) for hour in hours])


def _times(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Durations of the newest runs, oldest run first."""
    took = [(run["id"], seconds) for run in reversed(runs) if (seconds := lasted(run)) is not None]
    values = [seconds for _, seconds in took]
    return {
        "took": charts.latest([(f"{index - len(took)}", seconds) for index, (_, seconds) in enumerate(took)]),
        "timed": len(took),
        "median": charts.percentile(values, 0.5),
        "slowest": charts.percentile(values, 0.95),
    }


def _reasons(failed: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Failed runs by error, most frequent first."""
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
    (usage, problem), (groups, _), (keys, _), (projects, _) = await view.several(
        ("/v1/usage", {"group_by": "day", "page_size": DAYS + 1}),
        ("/v1/usage", {"group_by": group, "sort": "-cost_usd,-calls", "page_size": 50}),
        ("/v1/access-keys", {"page_size": 100}),
        ("/v1/projects", {"page_size": 100}),
    )
    named = [*(keys["data"] if keys else ()), *(projects["data"] if projects else ())]
    names = {one["id"]: one["name"] for one in named}
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
        limits=await _limits(view, keys["data"] if keys else [], now),
        **_by_day(usage["data"] if usage else [], now),
    )


async def _limits(view: View, keys: Sequence[Mapping[str, Any]], now: datetime) -> Sequence[Mapping[str, Any]]:
    """Keys with a spending limit, and what each has spent, the one nearest to its limit first."""
    limited = [key for key in keys if key.get("spending_limit") or key.get("rate_limit")][:LIMITED_MAX]
    spending = [key for key in limited if key.get("spending_limit")]
    sums = await view.several(*(("/v1/usage", {"key_id": key["id"], "from": _since(key, now)}) for key in spending))
    spent = {
        key["id"]: sum(row["cost_usd"] for row in found["data"])
        for key, (found, _) in zip(spending, sums, strict=True)
        if found
    }
    rows = [
        {**key, "spent": spent.get(key["id"]), "share": spent.get(key["id"], 0.0) / key["spending_limit"]["usd"]}
        if key.get("spending_limit")
        else {**key, "spent": None, "share": 0.0}
        for key in limited
    ]
    return sorted(rows, key=lambda row: -row["share"])


def _since(key: Mapping[str, Any], now: datetime) -> str:
    """The start of the current period of a key's limit."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = {"day": day, "month": day.replace(day=1)}.get(key["spending_limit"]["period"])
    return begins.isoformat().replace("+00:00", "Z") if begins else str(key["created_at"])

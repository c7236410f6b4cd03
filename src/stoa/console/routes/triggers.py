"""An app's triggers: the list, and one trigger with its next due times and the log of its firings."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from zoneinfo import available_timezones

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.routes.apps import EMPTY, app_of
from stoa.console.view import View

PAGE_SIZE: Final = 25
NEXT: Final = 10
EXAMPLE: Final = {
    "name": "weekly report", "provider": "schedule",
    "config": {"timezone": "Europe/Berlin", "schedule": "0 9 * * 1"},
    "input_transformer": {"selector": {"input": "Write the weekly report."}},
}  # fmt: skip


def routes() -> Sequence[Route]:
    return [
        page("/console/apps/{id:uuid}/triggers", _list),
        page("/console/apps/{id:uuid}/triggers/{trigger:uuid}", _trigger),
    ]


async def _list(view: View) -> Response:
    app = await app_of(view)
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    path = f"/v1/apps/{app['id']}/triggers"
    found, problem = await view.optional(path, query)
    return view.page(
        "triggers.html", "apps", app["name"], [Call("GET", path, query), Call("POST", path, body=EXAMPLE)],
        view=view, app=app, tab="triggers", problem=problem, found=(found or EMPTY)["data"],
        pagination=(found or EMPTY)["pagination"], timezones=sorted(available_timezones()),
    )  # fmt: skip


async def _trigger(view: View) -> Response:
    app = await app_of(view)
    where = f"/v1/apps/{app['id']}/triggers/{view.request.path_params['trigger']}"
    trigger = (await view.api.get(where))["data"]
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    scheduled = trigger["provider"] == "schedule"
    events, problem = await view.optional(f"{where}/events", query)
    due, no_times = await view.optional(f"{where}/next", {"count": NEXT}) if scheduled else (None, None)
    calls = [Call("GET", where), Call("GET", f"{where}/events", query)]
    if scheduled:
        calls += [Call("GET", f"{where}/next", {"count": NEXT}), Call("POST", f"{where}/run")]
    return view.page(
        "trigger.html", "apps", trigger["name"], calls,
        view=view, app=app, tab="triggers", trigger=trigger, times=with_shifts(due["data"] if due else []),
        times_problem=no_times, problem=problem, found=(events or EMPTY)["data"],
        pagination=(events or EMPTY)["pagination"],
    )  # fmt: skip


def with_shifts(due: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Each due time with its UTC offset, and whether the offset differs from the previous one (daylight saving)."""
    made: list[Mapping[str, Any]] = []
    for one in due:
        day, _, rest = one["local_time"].partition("T")
        offset = rest[8:] if len(rest) > 8 else ""
        shifted = bool(made) and made[-1]["offset"] != offset
        made.append({"at": one["at"], "day": day, "time": rest[:5], "offset": offset or "Z", "shifted": shifted})
    return made

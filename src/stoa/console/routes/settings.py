"""The organization, its projects, and the operator's settings."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PROJECTS: Final = 100


def routes() -> Sequence[Route]:
    return [page("/console/settings", _settings)]


async def _settings(view: View) -> Response:
    query = {"page": view.number("page"), "page_size": PROJECTS}
    (orgs, problem), (projects, no_projects) = await view.several(
        ("/v1/orgs", {"page_size": 10}), ("/v1/projects", query)
    )
    return view.page(
        "settings.html", "settings", view.translate("Settings"),
        [
            Call("GET", "/v1/orgs"),
            Call("GET", "/v1/projects", query),
            Call("POST", "/v1/projects", body={"name": "support", "description": "Answers customers"}),
        ],
        view=view, problem=problem, orgs=orgs["data"] if orgs else [], no_projects=no_projects,
        projects=projects["data"] if projects else [],
        pagination=projects["pagination"] if projects else {"page_count": 0},
    )  # fmt: skip

"""One project: members, retention, and the destination of its traces."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 50
ROLES: Final = ("admin", "editor", "viewer")


def routes() -> Sequence[Route]:
    return [page("/console/projects/{id:uuid}", _project)]


async def _project(view: View) -> Response:
    project_id = str(view.request.path_params["id"])
    where = f"/v1/projects/{project_id}"
    project: Mapping[str, Any] = (await view.api.get(where))["data"]
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    (members, no_members), (people, _), (invited, _), (traces, no_traces) = await view.several(
        (f"{where}/members", query),
        (f"/v1/orgs/{project['org_id']}/members", {"page_size": 500}),
        (f"{where}/invitations", {"page_size": 100}),
        ("/v1/trace-settings", {"project_id": project_id}),
    )
    there = members["data"] if members else []
    ids = {one["user_id"] for one in there}
    kept = {name: project.get(name) for name in ("name", "description", "visibility")}
    return view.page(
        "project.html", "settings", project["name"],
        [
            Call("GET", f"{where}/members", query),
            Call("POST", f"{where}/members", body={"email": "bob@example.com", "role": "editor"}),
            Call("PUT", where, body={**kept, "retention_days": 90}),
            Call("PUT", f"/v1/trace-settings?project_id={project_id}", body={"retention_days": 30}),
        ],
        view=view, project=project, kept=kept, members=there, no_members=no_members, roles=ROLES,
        pagination=members["pagination"] if members else {"page_count": 0},
        others=[one for one in people["data"] if one["user_id"] not in ids] if people else [],
        invited=invited["data"] if invited else [], traces=traces["data"] if traces else None, no_traces=no_traces,
    )  # fmt: skip

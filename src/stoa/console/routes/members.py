"""Members of the organization, and invitations."""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE = 50


def routes() -> Sequence[Route]:
    return [page("/console/members", _members)]


async def _members(view: View) -> Response:
    orgs, problem = await view.optional("/v1/orgs", {"page_size": 100})
    found = orgs["data"] if orgs else []
    wanted = view.request.query_params.get("org")
    org = next((one for one in found if one["id"] == wanted), found[0] if found else None)
    title, here = view.translate("Members"), f"/v1/orgs/{org['id']}" if org else ""
    if org is None:
        return view.page("members.html", "members", title, view=view, problem=problem, org=None, orgs=())
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    (members, why), (invited, closed) = await view.several(
        (f"{here}/members", query), (f"{here}/invitations", {"page_size": 100})
    )
    return view.page(
        "members.html",
        "members",
        title,
        [
            Call("GET", f"{here}/members"),
            Call("POST", f"{here}/invitations", body={"email": "bob@example.com", "role": "member"}),
        ],
        view=view,
        problem=why,
        org=org,
        orgs=found,
        members=members["data"] if members else [],
        pagination=members["pagination"] if members else {"page_count": 0},
        invited=invited["data"] if invited else [],
        invited_problem=closed,
    )

"""A workflow: its graph (the draft or a version), its versions, and the differences between versions."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console import graphs
from stoa.console.api import page
from stoa.console.client import Refused
from stoa.console.examples import Call
from stoa.console.view import View

VERSIONS: Final = 50
DIFFERENCES: Final = 200


def routes() -> Sequence[Route]:
    return [
        page("/console/workflows/{id:uuid}", _workflow),
        page("/console/workflows/{id:uuid}/compare", _compare),
    ]


async def _workflow(view: View) -> Response:
    where = f"/v1/workflows/{view.request.path_params['id']}"
    workflow = (await view.api.get(where))["data"]
    (versions, _), (needs, _), (apps, _) = await view.several(
        (f"{where}/versions", {"page_size": VERSIONS, "page": view.number("page")}),
        (f"{where}/requirements", {"page_size": 50}),
        ("/v1/apps", {"project_id": workflow["project_id"], "workflow_id": workflow["id"], "page_size": 50}),
    )
    listed = versions["data"] if versions else []
    wanted = view.request.query_params.get("version")
    chosen = next((one for one in listed if one["id"] == wanted), None)
    shown = (await view.api.get(f"{where}/versions/{chosen['id']}"))["data"] if chosen else workflow
    graph = await asyncio.to_thread(graphs.drawn, shown.get("flow"), shown.get("flow_ui"))
    return view.page(
        "workflow.html", "apps", workflow["name"],
        [
            Call("GET", where),
            Call("GET", f"{where}/versions"),
            Call("POST", f"{where}/validate", body={}),
            Call("POST", "/v1/workflows/test", body={"flow": {"agent": {}}, "input": {"input": "Hello!"}}),
        ],
        view=view, workflow=workflow, versions=listed, chosen=chosen, flow=shown.get("flow"), graph=graph,
        draft=graphs.draft(shown.get("flow")),
        verdict=None if chosen else await _verdict(view, where), requirements=needs["data"] if needs else [],
        apps=apps["data"] if apps else [],
        pagination=versions["pagination"] if versions else {"page_count": 0},
    )  # fmt: skip


async def _verdict(view: View, where: str) -> Mapping[str, Any] | None:
    """The validation of the draft. None if the API refuses the request."""
    try:
        found: Mapping[str, Any] = (await view.api.post(f"{where}/validate", {}))["data"]
    except Refused:
        return None
    return found


async def _compare(view: View) -> Response:
    """The differences between two versions."""
    where = f"/v1/workflows/{view.request.path_params['id']}"
    (workflow, versions) = await asyncio.gather(
        view.api.get(where), view.api.get(f"{where}/versions", {"page_size": VERSIONS})
    )
    listed = versions["data"]
    ids = [one["id"] for one in listed]
    asked = view.request.query_params
    after = asked.get("to") if asked.get("to") in ids else ids[0] if ids else None
    before = asked.get("from") if asked.get("from") in ids else ids[1] if len(ids) > 1 else None
    path = f"{where}/versions/{after}/diff"
    found, problem = await view.optional(path, {"against": before}) if after and before else (None, None)
    names = {one["id"]: one for one in listed}
    return view.page(
        "compare.html", "apps", workflow["data"]["name"], [Call("GET", path, {"against": before})] if found else [],
        view=view, workflow=workflow["data"], versions=listed, before=names.get(before), after=names.get(after),
        problem=problem, changes=found["data"][:DIFFERENCES] if found else [],
        more=max(0, len(found["data"]) - DIFFERENCES) if found else 0,
    )  # fmt: skip

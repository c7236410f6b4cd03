"""Tools: the list, one tool with a test call, and a preview of the tools of an OpenAPI document."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 50
HTTP: Final = {
    "name": "weather", "type": "http", "description": "The weather of a city.",
    "config": {"url": "https://example.com/weather/{city}"},
}  # fmt: skip
DRAFTS: Final[Mapping[str, Any]] = {"integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def routes() -> Sequence[Route]:
    return [page("/console/tools", _list), page("/console/tools/{id:uuid}", _tool)]


async def _list(view: View) -> Response:
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    found, problem = await view.optional("/v1/tools", query)
    return view.page(
        "tools.html", "tools", view.translate("Tools"),
        [
            Call("GET", "/v1/tools", query),
            Call("POST", "/v1/tools", body=HTTP),
            Call("POST", "/v1/tools/import", {"dry_run": "true"}, {"url": "https://example.com/openapi.json"}),
        ],
        view=view, problem=problem, found=found["data"] if found else [],
        pagination=found["pagination"] if found else {"page_count": 0},
    )  # fmt: skip


async def _tool(view: View) -> Response:
    where = f"/v1/tools/{view.request.path_params['id']}"
    tool = (await view.api.get(where))["data"]
    offers = [{**one, "draft": draft(one.get("parameters"))} for one in tool.get("offers") or ()]
    return view.page(
        "tool.html", "tools", tool["name"],
        [Call("GET", where), Call("POST", f"{where}/test", body={"arguments": draft(_parameters(tool))})],
        tool=tool, parameters=_parameters(tool), offers=offers, draft=draft(_parameters(tool)),
    )  # fmt: skip


def _parameters(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    found = tool["config"].get("parameters")
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def draft(schema: Any) -> Mapping[str, Any]:
    """Example arguments: the required properties of a schema, or else all of them, with their defaults and examples."""
    known = cast("Mapping[str, Any]", schema) if isinstance(schema, Mapping) else {}
    properties = known.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    fields = cast("Mapping[str, Any]", properties)
    required = known.get("required")
    names = [name for name in cast("list[Any]", required) if name in fields] if isinstance(required, list) else []
    return {name: _value(fields[name]) for name in names or list(fields)[:10]}


def _value(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return ""
    told = cast("Mapping[str, Any]", schema)
    if "default" in told:
        return told["default"]
    for name in ("examples", "enum"):
        values = told.get(name)
        if isinstance(values, list) and values:
            return cast("list[Any]", values)[0]
    kind = told.get("type")
    return DRAFTS.get(kind, "") if isinstance(kind, str) else ""

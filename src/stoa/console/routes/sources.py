"""Sources, which synchronize a knowledge base with a website, a directory, a bucket or a repository."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stoa.console import pages
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

SOURCES: Final = 50
SYNCS: Final = 10
FAILURES: Final = 25
EXAMPLE: Final = {
    "name": "docs",
    "provider": "website",
    "config": {"url": "https://example.com/docs"},
    "schedule": "6h",
}


def routes() -> Sequence[Route]:
    return [
        page("/console/knowledge/{id:uuid}/sources", _sources),
        page("/console/knowledge/{id:uuid}/sources/list", _list_only),
        page("/console/sources/{id:uuid}", _source),
    ]


async def _found(view: View, where: str) -> Mapping[str, Any]:
    found, problem = await view.optional(f"{where}/sources", {"page_size": SOURCES, "page": view.number("page")})
    listed = found["data"] if found else []
    return {
        "found": listed,
        "sources_problem": problem,
        "pagination": found["pagination"] if found else {"page_count": 0},
        "working": any((one.get("sync") or {}).get("status") in ("pending", "running") for one in listed),
        "view": view,
    }


async def _sources(view: View) -> Response:
    where = f"/v1/knowledgebases/{view.request.path_params['id']}"
    base = (await view.api.get(where))["data"]
    return view.page(
        "sources.html", "knowledge", base["name"],
        [Call("GET", f"{where}/sources"), Call("POST", f"{where}/sources", body=EXAMPLE)],
        base=base, tab="sources", **await _found(view, where),
    )  # fmt: skip


async def _list_only(view: View) -> Response:
    """The current table, for a page that polls syncs."""
    where = f"/v1/knowledgebases/{view.request.path_params['id']}"
    await view.api.get(where)  # Raises Refused if there is no such base.
    found = await _found(view, where)
    return HTMLResponse(pages.render("source-list.html", view.language, **found), headers=dict(pages.HEADERS))


async def _source(view: View) -> Response:
    where = f"/v1/knowledgebase-sources/{view.request.path_params['id']}"
    source = (await view.api.get(where))["data"]
    (syncs, problem), (failures, _), base = await asyncio.gather(
        view.optional(f"{where}/syncs", {"page_size": SYNCS}),
        view.optional(f"{where}/failures", {"page_size": FAILURES, "page": view.number("page")}),
        view.api.get(f"/v1/knowledgebases/{source['knowledgebase_id']}"),
    )
    return view.page(
        "source.html", "knowledge", source["name"],
        [Call("GET", where), Call("POST", f"{where}/sync"), Call("GET", f"{where}/failures")],
        view=view, source=source, base=base["data"], tab="sources", syncs=syncs["data"] if syncs else [],
        problem=problem, failures=failures["data"] if failures else [],
        pagination=failures["pagination"] if failures else {"page_count": 0},
    )  # fmt: skip

"""Serves the documentation before the api host's app: `/docs` and below, except the HTTP reference and its files."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa.console import view
from stoa.console.documentation import pages, rendering, search

REFERENCE: Final = frozenset(
    f"{pages.BASE}/{name}" for name in ("reference", "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
)
FOUND: Final = f"{pages.BASE}/search"


class _Template:
    """What requests are counted under."""

    path = f"{pages.BASE}/{{page}}"


class Documentation:
    """Wraps the app of the api host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_ours(scope):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "route": _Template}
        await (await _answer(Request(scope, receive)))(scope, receive, send)


def _is_ours(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope.get("root_path"):
        return False
    path = scope["path"]
    return (path == pages.BASE or path.startswith(f"{pages.BASE}/")) and path not in REFERENCE


async def _answer(request: Request) -> Response:
    path = request.url.path
    if path == FOUND:
        query = request.query_params.get("q", "").strip()
        found = await asyncio.to_thread(search.search, query) if query else []
        return _page(request, "found.html", title=query or "Search", query=query, found=found)
    if path != pages.BASE and path.endswith("/"):
        return RedirectResponse(quote(path.rstrip("/")), 308)
    known = await asyncio.to_thread(pages.by_address)
    if (page := known.get(quote(path))) is None:
        return _page(request, "found.html", 404, title="There is no such page", query="", found=[])
    shown = await asyncio.to_thread(rendering.page, page)
    return _page(request, "documentation.html", title=shown.title, shown=shown)


def _page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    language = view.language_of(request)
    response = view.respond(request, language, template, status, groups=pages.navigation(), page="docs", **values)
    response.headers["Cache-Control"] = "no-cache"
    return response

"""The list of conversations, their search, and receipts of deletions."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 25


def routes() -> Sequence[Route]:
    return [page("/console/conversations", _list), page("/console/deletions/{id:uuid}", _deletion)]


async def _list(view: View) -> Response:
    words = view.request.query_params.get("q", "").strip()[:500]
    pinned = not words and view.request.query_params.get("pinned") == "true"
    order = {"pinned": "true"} if pinned else {"sort": "-updated_at", "q": words or None}
    query = {"page": view.number("page"), "page_size": PAGE_SIZE, **order}
    found, problem = await view.optional("/v1/conversations", query)
    return view.page(
        "conversations.html",
        "conversations",
        view.translate("Conversations"),
        [Call("GET", "/v1/conversations", query)],
        view=view,
        query=words,
        pinned=pinned,
        problem=problem,
        found=found["data"] if found else [],
        pagination=found["pagination"] if found else {"total_count": 0, "page_count": 0},
    )


async def _deletion(view: View) -> Response:
    path = f"/v1/deletions/{view.request.path_params['id']}"
    found = (await view.api.get(path))["data"]
    return view.page("deletion.html", "", view.translate("Deleted"), [Call("GET", path)], found=found)

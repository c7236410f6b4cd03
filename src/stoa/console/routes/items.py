"""One item of a knowledge base as searches see it: its text in chunks. The chunk that the URL names is marked."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 50
OWN: Final = frozenset({"source", "file_id", "dynamiq_item_id"})
"""Fields of every item's metadata, which the page shows elsewhere."""
SOUGHT_MAX: Final = 2_000
"""The wanted chunk is searched among the first SOUGHT_MAX chunks. A later one is not marked."""
SOUGHT_AT_ONCE: Final = 500


def routes() -> Sequence[Route]:
    return [page("/console/items/{id:uuid}", _item)]


async def _item(view: View) -> Response:
    where = f"/v1/knowledgebase-items/{view.request.path_params['id']}"
    item = (await view.api.get(where))["data"]
    wanted = view.request.query_params.get("chunk", "")
    number = view.number("page") if "page" in view.request.query_params else await _page_of(view, where, wanted)
    query = {"page": number, "page_size": PAGE_SIZE}
    (chunks, problem), (base, _) = await view.several(
        (f"{where}/chunks", query), (f"/v1/knowledgebases/{item['knowledgebase_id']}", None)
    )
    return view.page(
        "item.html", "knowledge", item["name"],
        [Call("GET", where), Call("GET", f"{where}/chunks", query)],
        view=view, item=item,
        metadata={name: value for name, value in (item.get("metadata") or {}).items() if name not in OWN},
        base=base["data"] if base else None, problem=problem, wanted=wanted,
        chunks=chunks["data"] if chunks else [],
        pagination=chunks["pagination"] if chunks else {"page_count": 0},
    )  # fmt: skip


async def _page_of(view: View, where: str, wanted: str) -> int:
    """The page of the item that has the chunk. The first page if it is not found among the first SOUGHT_MAX."""
    for number in range(1, SOUGHT_MAX // SOUGHT_AT_ONCE + 1) if wanted else ():
        found, _ = await view.optional(f"{where}/chunks", {"page": number, "page_size": SOUGHT_AT_ONCE})
        here: Sequence[Mapping[str, Any]] = found["data"] if found else []
        place = next((index for index, one in enumerate(here) if one["id"] == wanted), None)
        if place is not None:
            return ((number - 1) * SOUGHT_AT_ONCE + place) // PAGE_SIZE + 1
        if len(here) < SOUGHT_AT_ONCE:
            break
    return 1

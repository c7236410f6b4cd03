"""Knowledge bases: the list, one base with its items, and a search that explains its results."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stoa.console import pages
from stoa.console.api import page
from stoa.console.client import Refused
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 25
ITEMS: Final = 50
HITS: Final = 8
MODES: Final = ("hybrid", "keyword", "semantic")
SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "mode": MODES,
    "alpha": ("0", "0.25", "0.5", "0.75", "1"),
    "rerank": ("yes", "no"),
    "group": ("document",),
}
"""The settings of a search that the form offers, and their values. An empty choice uses the base's setting."""
STATUSES: Final = ("processed", "processing", "pending", "failed")


def routes() -> Sequence[Route]:
    return [
        page("/console/knowledge", _list),
        page("/console/knowledge/{id:uuid}", _base),
        page("/console/knowledge/{id:uuid}/items", _items_only),
    ]


async def _list(view: View) -> Response:
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    found, problem = await view.optional("/v1/knowledgebases", query)
    return view.page(
        "knowledge.html",
        "knowledge",
        view.translate("Knowledge"),
        [Call("GET", "/v1/knowledgebases", query), Call("POST", "/v1/knowledgebases", body={"name": "Papers"})],
        view=view,
        problem=problem,
        found=found["data"] if found else [],
        pagination=found["pagination"] if found else {"page_count": 0},
    )


async def _base(view: View) -> Response:
    where = f"/v1/knowledgebases/{view.request.path_params['id']}"
    base = (await view.api.get(where))["data"]
    words = view.request.query_params.get("q", "").strip()[:2000]
    items, searches = await asyncio.gather(_items(view, where), _searches(view, where, words))
    calls = [Call("GET", f"{where}/items", {"page_size": ITEMS}), *(one["call"] for one in searches)]
    return view.page(
        "base.kb.html", "knowledge", base["name"], calls,
        base=base, tab="items", words=words, searches=searches, settings=SETTINGS, sides=chosen(view), **items,
    )  # fmt: skip


async def _items(view: View, where: str) -> Mapping[str, Any]:
    status = view.request.query_params.get("status")
    status = status if status in STATUSES else None
    found, problem = await view.optional(
        f"{where}/items", {"page": view.number("page"), "page_size": ITEMS, "status": status}
    )
    items = found["data"] if found else []
    return {
        "items": items,
        "pagination": found["pagination"] if found else {"page_count": 0, "total_count": 0},
        "items_problem": problem,
        "status": status,
        "statuses": STATUSES,
        "working": any(one["status"] in ("pending", "processing") for one in items),
        "base_id": str(view.request.path_params["id"]),
        "view": view,
    }


async def _items_only(view: View) -> Response:
    """The current table of items, for a page that polls it."""
    where = f"/v1/knowledgebases/{view.request.path_params['id']}"
    await view.api.get(where)  # Raises Refused if there is no such base.
    items = await _items(view, where)
    return HTMLResponse(pages.render("items.html", view.language, **items), headers=dict(pages.HEADERS))


async def _searches(view: View, where: str, words: str) -> Sequence[Mapping[str, Any]]:
    """The results for each chosen setting: one, or two side by side."""
    if not words:
        return []
    return await asyncio.gather(*(_search(view, where, words, one) for one in chosen(view)))


def chosen(view: View) -> Sequence[Mapping[str, str]]:
    """One setting or two. The form sends each select once per side. The second setting counts if it has a mode and
    differs from the first."""
    given = {name: view.request.query_params.getlist(name) for name in SETTINGS}
    sides: list[Mapping[str, str]] = []
    for side in range(2):
        said = {name: values[side] for name, values in given.items() if len(values) > side}
        setting = {name: value for name, value in said.items() if value in SETTINGS[name]}
        if (side == 0 or "mode" in setting) and setting not in sides:
            sides.append({"mode": MODES[0]} | setting)
    return sides


async def _search(view: View, where: str, words: str, setting: Mapping[str, str]) -> Mapping[str, Any]:
    body: dict[str, Any] = {"query": words, "mode": setting["mode"], "limit": HITS, "explain": True}
    if "alpha" in setting:
        body["alpha"] = float(setting["alpha"])
    if "rerank" in setting:
        body["rerank"] = setting["rerank"] == "yes"
    if "group" in setting:
        body["group_by"] = setting["group"]
    path, begun = f"{where}/vector-search", perf_counter()
    try:
        answer, problem = await view.api.post(path, body), None
    except Refused as refusal:
        answer, problem = {"data": [], "explain": None}, refusal.message
    return {
        "setting": setting,
        "hits": answer["data"],
        "explain": answer.get("explain"),
        "problem": problem,
        "seconds": perf_counter() - begun,
        "call": Call("POST", path, body=body),
    }

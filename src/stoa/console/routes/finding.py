"""The global search: conversations by their text, everything else by name or id."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stoa.console import pages
from stoa.console.api import page
from stoa.console.client import Query
from stoa.console.examples import Call
from stoa.console.view import View

ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
SHOWN: Final = 8
"""Results per kind."""
NAMED: Final = 500
"""Objects of one kind whose names are searched."""
PROJECTS_MAX: Final = 20
"""Projects whose apps are searched."""
WORDS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    path: str
    """The API's path of the list; one object is at `path/<id>`."""
    page: str
    """The console's path of one object."""


APPS: Final = _Kind("apps", "/v1/apps", "/console/apps/{}")
BY_NAME: Final = (
    APPS,
    _Kind("bases", "/v1/knowledgebases", "/console/knowledge/{}"),
    _Kind("workflows", "/v1/workflows", "/console/workflows/{}"),
    _Kind("tools", "/v1/tools", "/console/tools/{}"),
    _Kind("projects", "/v1/projects", "/console/projects/{}"),
)
BY_ID: Final = (
    _Kind("", "/v1/conversations", "/console/chat/{}"),
    _Kind("", "/v1/runs", "/console/runs/{}"),
    _Kind("", "/v1/knowledgebase-items", "/console/items/{}"),
    _Kind("", "/v1/knowledgebase-sources", "/console/sources/{}"),
    _Kind("", "/v1/deletions", "/console/deletions/{}"),
    *BY_NAME,
    _Kind("", "/v1/traces", "/console/traces/{}"),
)


def routes() -> Sequence[Route]:
    return [page("/console/search", _search)]


async def _search(view: View) -> Response:
    words = " ".join(view.request.query_params.get("q", "").split())[:WORDS_MAX]
    if ID.fullmatch(words):
        place = await _with_id(view, words.lower())
        if place is not None:
            return RedirectResponse(place, 303, headers={"Cache-Control": "no-store"})
    query = {"q": words, "page_size": SHOWN, "sort": "-updated_at"}
    (talks, problem), *named = await _asked(view, query) if words else [(None, None)] * (1 + len(BY_NAME))
    groups = [
        (kind, found)
        for kind, (answer, _) in zip(BY_NAME, named, strict=True)
        if (found := _matching(answer["data"] if answer else (), words))
    ]
    return view.page(
        "search.html", "", view.translate("Search"), [Call("GET", "/v1/conversations", query)] if words else (),
        query=words, problem=problem, talks=talks["data"] if talks else [],
        talk_count=talks["pagination"]["total_count"] if talks else 0,
        groups=[
            {
                "name": kind.name,
                "count": len(found),
                "found": [{**one, "page": kind.page.format(one["id"])} for one in found[:SHOWN]],
            }
            for kind, found in groups
        ],
        pages=_matching([{"name": view.translate(name), "id": path} for _, path, name in pages.NAVIGATION], words),
    )  # fmt: skip


async def _asked(view: View, query: Query) -> Sequence[tuple[Any, str | None]]:
    """The responses for conversations, then for each kind of `BY_NAME`. Apps are listed by project."""
    talks, *others = await view.several(
        ("/v1/conversations", query), *((kind.path, {"page_size": NAMED}) for kind in BY_NAME if kind is not APPS)
    )
    projects = others[-1][0]["data"] if others[-1][0] else []
    found = await view.several(
        *((APPS.path, {"page_size": NAMED, "project_id": one["id"]}) for one in projects[:PROJECTS_MAX])
    )
    apps = {"data": [one for answer, _ in found if answer for one in answer["data"]]}
    return [talks, (apps, None), *others]


def _matching(things: Sequence[Mapping[str, Any]], words: str) -> Sequence[Mapping[str, Any]]:
    """The objects whose names contain all words, shortest name first."""
    wanted = words.casefold().split()
    found = [one for one in things if all(word in str(one.get("name") or "").casefold() for word in wanted)]
    return sorted(found, key=lambda one: len(str(one["name"]))) if wanted else []


async def _with_id(view: View, wanted: str) -> str | None:
    """The console's path for the object with this id. None if the session can see no such object."""
    answers = await view.several(*((f"{kind.path}/{wanted}", None) for kind in BY_ID))
    return next((kind.page.format(wanted) for kind, (answer, _) in zip(BY_ID, answers, strict=True) if answer), None)

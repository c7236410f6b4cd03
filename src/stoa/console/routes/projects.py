"""Selects the project of a page: the one in its URL, or the first that the key can see."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoa.console.view import View


async def chosen(view: View) -> tuple[str | None, Sequence[Mapping[str, Any]], str | None]:
    """(the project's id, all projects, why there is none). For a key without permission to list projects, they are
    taken from the list of workflows."""
    (projects, problem), (workflows, _) = await view.several(
        ("/v1/projects", {"page_size": 100}), ("/v1/workflows", {"page_size": 100})
    )
    found: list[Mapping[str, Any]] = list(projects["data"]) if projects else []
    known = {one["id"] for one in found}
    for one in workflows["data"] if workflows else ():
        if one["project_id"] not in known:
            known.add(one["project_id"])
            found.append({"id": one["project_id"], "name": one["project_id"]})
    wanted = view.request.query_params.get("project")
    ids = [one["id"] for one in found]
    return (wanted if wanted in ids else ids[0] if ids else None), found, None if found else problem

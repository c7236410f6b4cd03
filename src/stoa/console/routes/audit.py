"""The audit log: who changed what, and the head of its hash chain."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 50
FIELDS: Final = ("action", "subject", "actor", "since", "until")
DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def routes() -> Sequence[Route]:
    return [page("/console/audit", _audit)]


async def _audit(view: View) -> Response:
    query = _query(view.request.query_params)
    (found, problem), (head, _), (keys, _) = await view.several(
        ("/v1/audit", query), ("/v1/audit/head", None), ("/v1/access-keys", {"page_size": 100})
    )
    lines = found["data"] if found else []
    return view.page(
        "audit.html", "audit", view.translate("Audit"),
        [
            Call("GET", "/v1/audit", query),
            Call("GET", "/v1/audit/head"),
            Call("GET", "/v1/audit/export", {"format": "jsonl"}),
        ],
        view=view, problem=problem, found=lines, head=head["data"] if head else None,
        next=(found["pagination"].get("next_cursor") if found else None),
        names={key["id"]: key["name"] for key in keys["data"]} if keys else {},
        asked={name: view.request.query_params.get(name, "") for name in FIELDS},
        filtered=any(query.get(name) for name in ("action", "subject_id", "actor_id", "since", "until")),
    )  # fmt: skip


def _query(asked: Mapping[str, str]) -> dict[str, Any]:
    """The API's query for the page's fields. Invalid ids and days are left out."""
    since, until = (asked.get(name, "") for name in ("since", "until"))
    subject, actor = (asked.get(name, "").strip().lower() for name in ("subject", "actor"))
    cursor = asked.get("cursor", "")
    return {
        "page_size": PAGE_SIZE,
        "action": asked.get("action", "").strip()[:100] or None,
        "subject_id": subject if ID.fullmatch(subject) else None,
        "actor_id": actor if ID.fullmatch(actor) else None,
        "since": f"{since}T00:00:00Z" if DAY.fullmatch(since) else None,
        "until": f"{until}T23:59:59.999999Z" if DAY.fullmatch(until) else None,
        "cursor": cursor if cursor.isascii() and cursor.isdigit() and len(cursor) <= 18 else None,
    }

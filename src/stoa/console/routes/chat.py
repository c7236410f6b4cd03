"""The chat: its page, fragments of it, and an answer's stream."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from stoa.console import markdown, pages
from stoa.console.answers import Answer
from stoa.console.api import page
from stoa.console.client import Refused
from stoa.console.examples import Call
from stoa.console.streaming import FrameStream, followed
from stoa.console.view import View

PAGE_SIZE: Final = 40
TALKS_MAX: Final = 30
BASES_MAX: Final = 50
MODELS_MAX: Final = 500
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def routes() -> Sequence[Route]:
    return [
        page("/", _new),
        page("/console/chat/{id:uuid}", _chat),
        page("/console/chat/{id:uuid}/thread", _thread_only),
        page("/console/talks", _talks_only),
        page("/console/runs/{id:uuid}/stream", _stream),
        page("/console/runs/{id:uuid}/answer", _whole_answer),
        page("/console/runs/{id:uuid}/passages", _passages),
    ]


async def _new(view: View) -> Response:
    return await _show(view, None)


async def _chat(view: View) -> Response:
    found = await view.api.get(f"/v1/conversations/{view.request.path_params['id']}")
    return await _show(view, found["data"])


async def _show(view: View, conversation: Mapping[str, Any] | None) -> Response:
    wanted = (conversation or {}).get("app_id") or view.request.query_params.get("app", "")
    (models, no_models), (bases, _), (app, _), talks, (forks, _) = await asyncio.gather(
        view.optional("/v1/router/models", {"page_size": MODELS_MAX}),
        view.optional("/v1/knowledgebases", {"page_size": BASES_MAX}),
        _app(view, wanted),
        _talks(view, conversation["id"] if conversation else None),
        _nothing() if conversation is None else view.optional(f"/v1/conversations/{conversation['id']}/forks"),
    )
    thread = await _thread(view, conversation) if conversation else _EMPTY
    offered = models["data"] if models else []
    title = (conversation.get("title") or view.translate("Untitled")) if conversation else view.translate("Chat")
    return view.page(
        "chat.html",
        "chat",
        title,
        _calls(conversation, offered),
        conversation=conversation,
        app=app,
        forks=_tree(forks["data"]) if forks and len(forks["data"]) > 1 else [],
        fork_count=len(forks["data"]) if forks else 0,
        models=offered,
        models_problem=no_models,
        builtin_only=len(offered) == 1 and offered[0]["slug"] == "stoa-extractive",
        bases=bases["data"] if bases else [],
        chosen_bases=((conversation or {}).get("agent") or {}).get("knowledge_bases") or [],
        **talks,
        **thread,
    )


async def _nothing() -> tuple[Any, str | None]:
    return None, None


def _tree(forks: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Conversations, each below the one it was forked from. Those whose origin is not in the list are at the top."""
    nodes: dict[str, dict[str, Any]] = {one["id"]: {**one, "below": []} for one in forks}
    top: list[Mapping[str, Any]] = []
    for one in nodes.values():
        above = nodes.get((one.get("forked_from") or {}).get("conversation_id", ""))
        (above["below"] if above else top).append(one)
    return top


async def _app(view: View, wanted: str) -> tuple[Any, str | None]:
    """The app of the conversation. None if it uses a model, or there is no such app."""
    found, problem = await view.optional(f"/v1/apps/{wanted}") if ID.fullmatch(wanted) else (None, None)
    return found["data"] if found else None, problem


def _calls(conversation: Mapping[str, Any] | None, models: Sequence[Mapping[str, Any]]) -> Sequence[Call]:
    if conversation is None:
        return [Call("POST", "/v1/conversations", body={"model_id": models[0]["id"] if models else "…"})]
    where = conversation["id"]
    return [
        Call("GET", f"/v1/conversations/{where}/messages", {"page_size": PAGE_SIZE}),
        Call("POST", f"/v3/conversations/{where}/messages", body={"content": "Hello!"}),
    ]


_EMPTY: Final[Mapping[str, Any]] = {"messages": [], "errors": {}, "earlier": None, "active_run": None, "queued": []}


async def _thread(view: View, conversation: Mapping[str, Any], number: int | None = None) -> Mapping[str, Any]:
    """The newest messages with the running answer, or, with `number`, one page of earlier messages."""
    where = f"/v1/conversations/{conversation['id']}"
    last = max(1, -(-conversation["message_count"] // PAGE_SIZE))
    wanted = [number] if number else [last - 1, last] if last > 1 else [last]
    found = await asyncio.gather(
        *(view.api.get(f"{where}/messages", {"page": one, "page_size": PAGE_SIZE}) for one in wanted)
    )
    messages = [message for answer in found for message in answer["data"]]
    earlier = wanted[0] - 1 or None
    failed = [one["run_id"] for one in messages if one["status"] == "failed" and one.get("run_id")][-10:]
    runs = await view.several(*((f"/v1/runs/{run}", None) for run in failed))
    errors = {run["data"]["id"]: run["data"].get("error") for run, _ in runs if run is not None}
    queue, _ = (None, None) if number else await view.optional(f"{where}/queue")
    active = None if number else conversation.get("active_run_id")
    texts = [
        part["text"] for one in messages if one["role"] == "assistant" for part in one["content"] if "text" in part
    ]
    await asyncio.to_thread(lambda: [markdown.document(text) for text in texts])
    return {
        "messages": messages,
        "errors": errors,
        "earlier": earlier,
        "active_run": active,
        "queued": [one for one in (queue or {}).get("data", ()) if one["run_id"] != active],
    }


async def _thread_only(view: View) -> Response:
    """The current thread, for a page that was notified of a change; or one page of earlier messages."""
    conversation = (await view.api.get(f"/v1/conversations/{view.request.path_params['id']}"))["data"]
    number = view.number("page", 0) if "page" in view.request.query_params else None
    thread = await _thread(view, conversation, number)
    html = pages.render("thread.html", view.language, **thread)
    return HTMLResponse(html, headers={**pages.HEADERS, "Stoa-Messages": str(conversation["message_count"])})


async def _talks_only(view: View) -> Response:
    talks = await _talks(view, view.request.query_params.get("current"))
    return HTMLResponse(pages.render("talks.html", view.language, **talks), headers=dict(pages.HEADERS))


async def _talks(view: View, current: str | None) -> Mapping[str, Any]:
    """The list beside the chat: the pinned conversations, and the last changed of the others."""
    (pinned, _), (found, _) = await view.several(
        ("/v1/conversations", {"page_size": TALKS_MAX, "pinned": "true"}),
        ("/v1/conversations", {"page_size": TALKS_MAX, "sort": "-updated_at"}),
    )
    today = datetime.now(UTC).date()
    groups: tuple[list[Any], list[Any], list[Any]] = (list(pinned["data"]) if pinned else [], [], [])
    for one in found["data"] if found else ():
        if not one.get("pinned_at"):
            groups[1 if pages.moment(one["updated_at"]).date() == today else 2].append(one)
    more = any(one and one["pagination"]["total_count"] > TALKS_MAX for one in (pinned, found))
    labels = (view.translate("Pinned"), view.translate("Today"), view.translate("Earlier"))
    return {"groups": list(zip(labels, groups, strict=True)), "more": more, "current": current}


# --- one answer -----------------------------------------------------------------------------------------------------
async def _stream(view: View) -> Response:
    """Server-Sent Events of HTML, from the start or after `after` or Last-Event-ID."""
    run_id = str(view.request.path_params["id"])
    given = view.request.headers.get("last-event-id") or view.request.query_params.get("after") or "0"
    after = int(given) if given.isascii() and given.isdigit() and len(given) < 11 else 0
    try:
        await view.api.get(f"/v1/runs/{run_id}")
    except Refused as refusal:
        return JSONResponse({"error": {"code": refusal.code, "message": refusal.message}}, refusal.status)
    render = partial(pages.render, language=view.language)
    return FrameStream(followed(view.api, run_id, after, render))


async def _read(view: View) -> Answer:
    """The answer, from all events that its journal has now."""
    run_id = str(view.request.path_params["id"])
    answer = Answer(run_id)
    number = 1
    while True:
        found = await view.api.get(f"/v1/runs/{run_id}/events", {"page": number, "page_size": 500})
        for event in found["data"]:
            answer.apply(event)
        if number >= found["pagination"]["page_count"]:
            return answer
        number += 1


async def _whole_answer(view: View) -> Response:
    """All pieces of an answer, including its steps."""
    answer = await _read(view)
    changes = await asyncio.to_thread(answer.changes, partial(pages.render, language=view.language))
    return Response(orjson.dumps(changes), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _passages(view: View) -> Response:
    """The passages that the answer cites."""
    answer = await _read(view)
    if not answer.sequence:
        raise HTTPException(404)
    html = pages.render("passages.html", view.language, passages=sorted(answer.passages.items()))
    return HTMLResponse(html, headers=dict(pages.HEADERS))

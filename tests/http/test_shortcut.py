"""A plain message goes past the framework, and nobody can tell but by the clock."""

import asyncio
from uuid import UUID

import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from stoa.http import Gate
from stoa.http.shortcut import BODY_BYTES_MAX, Shortcut
from stoa.kernel.principal import Principal
from tests.conftest import Running
from tests.support.doubles import answer

FRAMEWORK = {"Content-Type": "application/json; charset=utf-8"}
"""Whatever is not plainly `application/json` is left to the framework."""
AT_ITS_END = {"finish_reason", "usage", "output", "ended_at"}
"""A short run in the background may have ended before it is answered for."""
ABSENT = "00000000-0000-7000-8000-00000000dead"

PRINCIPAL = Principal(UUID(int=1), None, UUID(int=2))


@pytest.mark.parametrize(
    ("subject", "body", "headers", "status"),
    [
        ("own", {"content": "Hi", "stream": False}, {}, 200),
        ("own", {"content": "Hi", "background": True}, {}, 202),
        ("own", {"content": " "}, {}, 400),
        ("own", {"content": [{"type": "file", "file": {"id": ABSENT}}]}, {}, 400),
        ("own", {"content": "Hi", "model_id": ABSENT}, {}, 400),
        ("own", {"content": "Hi", "stream": True, "background": True}, {}, 400),
        ("own", [1], {}, 400),
        (ABSENT, {"content": "Hi"}, {}, 404),
        ("own", {"content": "Hi"}, {"Authorization": "Bearer nonsense"}, 401),
        ("own", {"content": "Hi"}, {"Authorization": ""}, 401),
    ],
)
async def test_the_fast_path_answers_as_the_framework_does(
    shared_server: Running, subject: str, body: object, headers: dict[str, str], status: int
) -> None:
    answers = []
    for way in ({}, FRAMEWORK):
        conversation = await shared_server.conversation() if subject == "own" else subject
        response = await shared_server.client.post(
            f"/v3/conversations/{conversation}/messages",
            json=body,
            headers={"Origin": "http://elsewhere.example", **way, **headers},
        )
        assert response.status_code == status, response.text
        answer = response.json()
        fields = set(answer.get("data", ())) - (AT_ITS_END if status == 202 else set())
        answers.append((fields, answer.get("error"), sorted(name for name in response.headers if name != "date")))
    assert answers[0] == answers[1]
    assert "access-control-allow-origin" in answers[0][2]


async def test_a_busy_conversation_is_refused_on_both_paths(running: Running) -> None:
    conversation = await running.conversation()
    gate = asyncio.Event()
    running.model.scripts = [[gate, *answer("Hello.")]]
    path = f"/v3/conversations/{conversation}/messages"
    first = (await running.call("POST", path, 202, json={"content": "Hi", "background": True}))["data"]
    for way in ({}, FRAMEWORK):
        refused = await running.call("POST", path, 409, json={"content": "Hi"}, headers=way)
        assert refused["error"]["details"] == {"active_run_id": first["id"]}
    assert len((await running.call("GET", f"/v1/conversations/{conversation}/messages"))["data"]) == 1, (
        "a refused message leaves nothing behind"
    )
    gate.set()


class Body(BaseModel):
    content: str


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"method": "PUT"}, False),
        ({"path": "/things/42/messages"}, False),
        ({"path": f"/things/{ABSENT}/others"}, False),
        ({"body": b'{"content": 1}'}, False),
        ({"body": b"{"}, False),
        ({"body": b'{"content": "%b"}' % (b"x" * BODY_BYTES_MAX)}, False),
        ({"headers": {"content-type": "text/plain"}}, False),
        ({"headers": {"idempotency-key": "k"}}, False),
        ({"headers": {"authorization": ""}}, False),
        ({"headers": {"authorization": "Basic x"}}, False),
        ({"more": True}, False),
    ],
)
async def test_only_what_is_plainly_in_order_is_taken(change: dict[str, object], taken: bool) -> None:
    router, seen = APIRouter(), {}

    @router.post("/things/{thing_id}/messages")
    async def taken_here(thing_id: object, body: Body, principal: object) -> Response:
        seen["taken"] = (str(thing_id), body.content, principal)
        return PlainTextResponse("taken")

    async def framework(scope: Scope, receive: Receive, _: Send) -> None:
        seen["framework"] = await Request(scope, receive).body()

    async def authenticate(_: str) -> object:
        return PRINCIPAL

    async def meter(_: object) -> None:
        raise AssertionError("this key has no limit")

    shortcut = Shortcut(
        framework, router, Gate(authenticate, meter), "/things/{thing_id}/messages", "thing_id", Body, "things:write"
    )  # type: ignore[arg-type]
    body = change.get("body", b'{"content": "Hi"}')
    assert isinstance(body, bytes)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "authorization": "Bearer k",
        **change.get("headers", {}),
    }  # type: ignore[dict-item]
    scope = {
        "type": "http",
        "method": change.get("method", "POST"),
        "path": change.get("path", f"/things/{ABSENT}/messages"),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    parts = [body[:5], body[5:]] if change.get("more") else [body]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(_: object) -> None:
        return None

    await shortcut(scope, receive, send)  # type: ignore[arg-type]
    assert ("taken" in seen) == taken
    assert taken or seen["framework"] == body, "the framework gets every byte, as if nobody had looked"

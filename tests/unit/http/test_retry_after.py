"""Every 429 and 503 says when to come back, whichever place makes it."""

import json
from collections.abc import Iterator
from inspect import signature
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from stoa.gateway.router.wire import refused
from stoa.http import errors
from stoa.http.edge import Edge
from stoa.http.raw_refusals import refusal
from stoa.kernel.errors import AppError
from stoa.kernel.ids import RandomIds

BUSY = (429, 503)


def below(kind: type[AppError]) -> Iterator[type[AppError]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def made(kind: type[AppError]) -> AppError:
    wanted = signature(kind).parameters
    return kind("Later.", **({"retry_after_seconds": 7} if "retry_after_seconds" in wanted else {}))


@pytest.mark.parametrize("kind", [one for one in below(AppError) if one.status in BUSY], ids=lambda one: one.__name__)
@pytest.mark.parametrize("render", [errors.response, refused], ids=["envelope", "router"])
def test_every_refusal_that_asks_to_wait(kind: type[AppError], render: Any) -> None:
    answer = render(made(kind))
    assert answer.status_code in BUSY
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("status", BUSY)
async def test_the_edge_adds_retry_after_to_busy_answers(status: int) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("{}", status)(scope, receive, send)

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    await Edge(inner, RandomIds())(scope, receive, send)
    assert int(dict(sent[0]["headers"])[b"retry-after"]) >= 1


@pytest.mark.parametrize("status", [400, 408, 431, *BUSY])
def test_a_refused_connection_has_retry_after(status: int) -> None:
    head, _, body = refusal(status, "unavailable", "Later.").partition(b"\r\n\r\n")
    assert (b"retry-after: 1" in head) == (status in BUSY)
    assert json.loads(body)["error"]["message"] == "Later."

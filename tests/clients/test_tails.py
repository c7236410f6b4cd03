"""The live tail of a trace with both clients: each step as it comes, also over a connection that breaks."""

import json
from typing import Any

import httpx
import pytest

from stoa_client import NotFoundError, RetryPolicy, Stoa
from tests.support.client_results import KEY
from tests.support.javascript import node

URL = "http://stoa.test/v1/traces/t-1/stream"
FIRST = 'id: 2026-01-01/"a"\nevent: span\ndata: {"id": "a", "name": "one"}\n\n: heartbeat\n\n'
SECOND = 'id: 7\nevent: span\ndata: {"id": "a", "name": "two"}\n\nevent: span\ndata: {"id": "b", "name": "three"}\n\n'
ANSWERS = [FIRST, f"{SECOND}event: end\ndata: {{}}\n\n"]
"""The first ends without the end of the trace."""
STEPS = [{"id": "a", "name": "one"}, {"id": "a", "name": "two"}, {"id": "b", "name": "three"}]
ASKED = [{"url": URL, "last": None}, {"url": URL, "last": '2026-01-01/"a"'}]


def test_python_follows_a_trace() -> None:
    asked: list[dict[str, Any]] = []
    answers = list(ANSWERS)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append({"url": str(request.url), "last": request.headers.get("Last-Event-ID")})
        return httpx.Response(200, text=answers.pop(0), headers={"Content-Type": "text/event-stream"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        stoa = Stoa("http://stoa.test", KEY, http=http, retries=RetryPolicy(first_seconds=0))
        with stoa.traces.tail("t-1") as tail:
            assert [step.raw for step in tail] == STEPS
    assert asked == ASKED


def test_javascript_follows_a_trace() -> None:
    said = [json.loads(line) for line in node("run_tail.mjs", ANSWERS)]
    assert [one for one in said if "url" in one] == ASKED
    assert [one for one in said if "url" not in one] == STEPS


def test_a_trace_that_is_not_there() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"error": {"code": "not_found", "message": "There is no trace t."}})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http, pytest.raises(NotFoundError):
        Stoa("http://stoa.test", KEY, http=http).traces.tail("t")

"""What MCP servers send that the protocol does not know, and what it stands for."""

import json
from typing import Any, cast

import aiohttp
import pytest

from stoa.tools.providers.mcp import bodies, endpoint
from stoa.tools.providers.mcp.bodies import Events
from stoa.tools.providers.mcp.content import result_of
from stoa.tools.providers.mcp.messages import NoMessage, Request, error_of, repaired, session_lost

CALL = Request(7, "tools/call", "2025-06-18")
OPEN = Request(7, "initialize", "2025-06-18")
HELLO: dict[str, Any] = {"content": [{"type": "text", "text": "hello"}]}
SOUND = {"jsonrpc": "2.0", "id": 7, "result": HELLO}


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (SOUND, HELLO),
        ({**SOUND, "id": "7"}, HELLO),
        ({**SOUND, "id": 7.0}, HELLO),
        ({**SOUND, "id": None}, HELLO),
        ({**SOUND, "error": None}, HELLO),
        ({"id": 7, "result": HELLO}, HELLO),
        ([SOUND], HELLO),
        ([{"jsonrpc": "2.0", "method": "notifications/progress"}, SOUND], HELLO),
        (HELLO, HELLO),
        ({**SOUND, "result": "plain"}, {"content": [{"type": "text", "text": "plain"}]}),
        ({**SOUND, "result": ["a", "b"]}, {"content": ["a", "b"]}),
        ({**SOUND, "result": 5}, {"content": [{"type": "text", "text": "5"}]}),
        ({**SOUND, "result": None}, {}),
    ],
)
def test_a_result_is_found(body: Any, result: Any) -> None:
    assert json.loads(repaired(json.dumps(body).encode(), CALL)) == {"jsonrpc": "2.0", "id": 7, "result": result}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("bad luck", -32603, "bad luck"),
        ({"code": "E1", "message": "bad luck"}, -32603, "bad luck"),
        ({"code": "-32000", "message": {"why": 1}}, -32000, '{"why": 1}'),
        ({"code": -32000}, -32000, "-32000"),
        ({"code": -32602, "message": "wrong", "data": [1]}, -32602, "wrong"),
        ({}, -32603, "it gives no reason"),
    ],
)
def test_an_error_is_found(error: Any, code: int, message: str) -> None:
    found = error_of(repaired(json.dumps({"id": None, "error": error}).encode(), CALL))
    assert found is not None
    assert (found["code"], found["message"]) == (code, message)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "nothing"),
        (b"<html>", "no JSON"),
        (b"7", "no object"),
        (b'{"detail": "x"}', "no message"),
        (b"[" * 3_000 + b"]" * 3_000, "too deeply"),
        (b"[" + b"{}," * 200_000 + b"{}]", "more parts"),
    ],
)
def test_what_is_no_message_is_named(body: bytes, said: str) -> None:
    with pytest.raises(NoMessage, match=said):
        repaired(body, CALL)


def test_bytes_that_are_not_quite_json() -> None:
    head, tail = b'{"jsonrpc": "2.0", "id": 7, "result": {"content": "', b'"}}'
    assert repaired(json.dumps(SOUND).encode(), CALL) == json.dumps(SOUND).encode(), "what is sound stays as it is"
    assert "caf\u00e9" in repaired(head + b"caf\xe9" + tail, CALL, "latin-1").decode()
    assert b'"content": "x?"' in repaired(head + b"x\\ud800" + tail, CALL)
    assert b"null" in repaired(b'{"result": {"structuredContent": NaN}}', CALL)
    assert repaired(b"\xef\xbb\xbf" + json.dumps(SOUND).encode(), CALL).startswith(b"{")


@pytest.mark.parametrize(
    "change",
    [
        {"capabilities": None},
        {"capabilities": {"tools": None}},
        {"serverInfo": None},
        {"serverInfo": {"name": "x"}},
        {"protocolVersion": "2099-01-01"},
        {"protocolVersion": None},
        {"instructions": 5},
    ],
)
def test_an_introduction_decides_nothing(change: dict[str, Any]) -> None:
    sound = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    made = json.loads(repaired(json.dumps({**SOUND, "result": {**sound, **change}}).encode(), OPEN))["result"]
    assert made["protocolVersion"] == "2025-06-18"
    assert made["capabilities"] == {}
    assert made["serverInfo"].keys() == {"name", "version"}
    assert "instructions" not in made


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (b'{"error": "Unknown session"}', True),
        (b"Session 4f1 not found", True),
        (b"Bad Request: Server not initialized", True),
        (b"no valid session ID", True),
        (b"Traceback: sqlalchemy.orm.session", False),
        (b"the database is away", False),
    ],
)
def test_words_about_a_session(words: bytes, lost: bool) -> None:
    """A call that failed with a word about some other session may have been made: it is not repeated."""
    assert session_lost(words) is lost


class _Response:
    def __init__(self, body: bytes, size: int) -> None:
        self.headers: dict[str, str] = {}
        self.content = self
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    async def read(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_events_are_read_leniently(end: str, size: int) -> None:
    """Text between the messages, another event's name, a message over several lines, no blank line at the end."""
    note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    answer = json.dumps({**SOUND, "id": None}, indent=1)
    lines = [": hello", "", "data: not json", "", f"event: other\nid: 4\ndata: {note}", ""]
    lines += [f"data:{line}" for line in answer.split("\n")]
    body = "\n".join(lines).replace("\n", end).encode()
    response = cast("aiohttp.ClientResponse", _Response(body, size))
    events = b"".join([event async for event in Events(response, CALL, 10_000)]).decode().split("\n\n")
    messages = [line[6:] for event in events for line in event.split("\n") if line.startswith("data: ")]
    assert [json.loads(one) for one in messages] == [json.loads(note), SOUND]
    assert any(event.startswith("id: 4\ndata: ") for event in events)


async def test_an_event_has_a_limit() -> None:
    response = cast("aiohttp.ClientResponse", _Response(b"data: " + b"x" * 1_000, 100))
    with pytest.raises(bodies.httpx2.StreamError, match="over 500 bytes"):
        _ = [event async for event in Events(response, CALL, 500)]


@pytest.mark.parametrize(
    ("result", "code", "text"),
    [
        ({"content": [{"type": "text", "text": "no"}], "isError": "true"}, "tool_failed", "no"),
        ({"content": [{"type": "text", "text": "no"}], "isError": 1}, "tool_failed", "no"),
        ({"content": [{"type": "error", "text": "no"}]}, "tool_failed", "no"),
        ({"content": [{"type": "text", "text": "yes"}], "isError": "false"}, None, "yes"),
        ({"content": [{"type": "markdown", "text": "# yes"}]}, None, "# yes"),
        ({"output": "yes", "_meta": {}}, None, '{"output":"yes"}'),
        ({"_meta": {}}, None, ""),
    ],
)
def test_results_lose_nothing(result: Any, code: str | None, text: str) -> None:
    found = result_of(result)
    assert (found.code, found.text) == (code, text)


@pytest.mark.parametrize(
    ("status", "body", "forgotten"),
    [
        (404, b"", True),
        (404, b"<html>", True),
        (400, b'{"id": null, "error": {"code": -32000, "message": "Bad Request: Server not initialized"}}', True),
        (401, b"", True),
        (422, b'{"detail": []}', True),
        (409, b'{"error": "Unknown session"}', True),
        (500, b"Session not found", True),
        (400, b'{"id": 7, "error": {"code": -32602, "message": "no such argument"}}', False),
        (404, b'{"id": 7, "error": {"code": -32601, "message": "no such method"}}', False),
        (403, b"<html>forbidden", False),
        (500, b"Traceback: sqlalchemy.orm.session", False),
        (500, b"session not found" + b" " * 2_000, False),
        (502, b"<html>", False),
        (200, b"{}", False),
    ],
)
def test_which_refusals_are_about_the_session(status: int, body: bytes, forgotten: bool) -> None:
    """Only then was the call not made, and may be repeated."""
    assert endpoint._forgotten(status, body, CALL) is forgotten

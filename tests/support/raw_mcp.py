"""A hand-written MCP server over HTTP, which follows the protocol as far as a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Self
from uuid import uuid4

from tests.support.listening import Listener

Sent = tuple[int, Mapping[str, str], bytes]


class RawMcp:
    """`tools` are listed and `result` answers every call, unchanged. `unknown` answers callers without a session."""

    def __init__(self, tools: Sequence[Any], result: Mapping[str, Any]) -> None:
        self.url = ""
        self.tools = tools
        self.result = result
        self.unknown: Callable[[Any], tuple[int, bytes]] = lambda _: (404, b"")
        self.refusal: Callable[[Any], tuple[int, bytes]] | None = None
        self.sessions: set[str] = set()
        self.calls = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, tools: Sequence[Any] = (), result: Mapping[str, Any] | None = None) -> AsyncIterator[Self]:
        made = cls(tools or [tool("hi")], result or {"content": [{"type": "text", "text": "hello"}]})
        async with Listener(made._serve) as listener:
            made.url = f"http://127.0.0.1:{listener.port}/mcp"
            yield made

    async def _serve(self, incoming: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while True:
                head = (await incoming.readuntil(b"\r\n\r\n")).decode()
                headers = {
                    name.lower(): value for name, _, value in (one.partition(": ") for one in head.split("\r\n"))
                }
                body = await incoming.readexactly(int(headers.get("content-length", 0)))
                status, more, content = self._answer(headers, body)
                lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(content)}"]
                writer.write("\r\n".join([*lines, *(f"{k}: {v}" for k, v in more.items()), "", ""]).encode() + content)
                await writer.drain()

    def _answer(self, headers: Mapping[str, str], body: bytes) -> Sent:
        if not body:
            return 405, {}, b""
        message = json.loads(body)
        method, request_id = message.get("method"), message.get("id")
        if method == "server/discover":
            return 200, {}, error(request_id, -32601, "Method not found")
        if method == "initialize":
            session = uuid4().hex
            self.sessions.add(session)
            found = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"},
            }
            return 200, {"mcp-session-id": session}, said(request_id, found)
        if headers.get("mcp-session-id") not in self.sessions:
            status, content = self.unknown(request_id)
            return status, {}, content
        if request_id is None:
            return 202, {}, b""
        if method == "tools/list":
            return 200, {}, said(request_id, {"tools": self.tools})
        self.calls += 1
        if self.refusal is not None:
            status, content = self.refusal(request_id)
            return status, {}, content
        return 200, {}, said(request_id, self.result)


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", "properties": {}}, **fields}


def said(request_id: Any, result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()


def error(request_id: Any, code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}).encode()

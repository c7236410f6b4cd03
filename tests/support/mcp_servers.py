"""MCP servers for tests, written with the official SDK: over stdio (`python tests/support/mcp_servers.py FILE`) and
over HTTP in the test's process."""

import asyncio
import base64
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send


class Weather(BaseModel):
    city: str
    degrees: int


class Diary:
    """What a server did, in a file: the test reads it, whatever process wrote it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, what: str) -> None:
        with self._path.open("a") as file:
            file.write(what + "\n")

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []


def build(diary: Diary) -> MCPServer:
    server = MCPServer("bench", version="1.0", log_level="ERROR")

    @server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
    async def echo(text: str) -> str:
        """Says what it is told."""
        return text

    @server.tool()
    async def slow() -> str:
        """Takes for ever."""
        diary.note("slow begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            diary.note("slow cancelled")
            raise
        return "never"

    @server.tool()
    async def fail() -> str:
        """Breaks."""
        raise ToolError("out of luck")

    @server.tool()
    async def long(size: int) -> str:
        """Says much."""
        return "x" * size

    @server.tool(annotations=types.ToolAnnotations(idempotent_hint=True, destructive_hint=False))
    async def weather(city: str) -> Weather:
        """Structured."""
        return Weather(city=city, degrees=21)

    @server.tool(name="media.show", structured_output=False)
    async def media() -> list[types.ContentBlock]:
        """Everything that is no text."""
        picture = base64.b64encode(b"x" * 300).decode()
        note = types.TextResourceContents(uri="note://1", text="Dear diary", mime_type="text/plain")
        blob = types.BlobResourceContents(uri="blob://1", blob=picture, mime_type="application/zip")
        return [
            types.TextContent(type="text", text="Look:"),
            types.ImageContent(type="image", data=picture, mime_type="image/png"),
            types.EmbeddedResource(type="resource", resource=note),
            types.EmbeddedResource(type="resource", resource=blob),
            types.ResourceLink(
                type="resource_link", uri="file:///a.txt", name="a.txt", mime_type="text/plain", description="A file"
            ),
        ]

    return server


@dataclass
class Web:
    """A server on loopback: its URL, and the headers that it was sent."""

    url: str
    headers: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def over_http(app: ASGIApp, port: int = 0) -> AsyncGenerator[Web]:
    web = Web("")

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            web.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(noting, port=port, log_config=None, timeout_graceful_shutdown=1))
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    web.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield web
    finally:
        server.should_exit = True
        await task


def command(diary: Path) -> tuple[str, tuple[Any, ...]]:
    return sys.executable, ("-P", str(Path(__file__)), str(diary))  # -P: tests/http is not the http of the library


if __name__ == "__main__":
    build(Diary(Path(sys.argv[1]))).run("stdio")

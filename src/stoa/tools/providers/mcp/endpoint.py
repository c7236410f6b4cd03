"""MCP servers over HTTP: the SDK's streamable HTTP transport over our outbound client, which checks addresses.

A failed request gets a JSON-RPC error as its answer, so that it does not end the session for the other requests.
Answers are repaired on their way to the SDK (`messages`).
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import httpx2
import orjson
from mcp.client.streamable_http import streamable_http_client

from stoa.outbound import Outbound, refused
from stoa.outbound.client import BodyError, charset_of, client, read_bounded
from stoa.outbound.describing import failure
from stoa.tools.providers.mcp.bodies import Events, Whole
from stoa.tools.providers.mcp.messages import NoMessage, Request, error_of, repaired, session_lost
from stoa.tools.providers.mcp.program import MESSAGE_BYTES_MAX

CODE: Final = "stoa_code"
"""In the data of an error that is ours, not the server's: which of a ToolResult's codes it is."""
FORGOTTEN: Final = "session_forgotten"
"""The same, for a session that the server does not know any more: the call was not made."""
METHOD_NOT_FOUND: Final = -32601
SHORT_BYTES_MAX: Final = 2_000
"""A refusal with more than this is a page or a traceback, whose words say nothing of the session."""
CONNECTIONS_MAX: Final = 32
NOTIFY_SECONDS_MAX: Final = 3.0
"""The timeout of a notification, because the next message waits for it."""
EXCERPT_CHARACTERS_MAX: Final = 300
_OURS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_UNPACKED: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_UNKNOWN_SESSION: Final = frozenset({400, 401, 404, 410, 422})
"""The protocol says 404; servers say the others too, with all kinds of bodies."""
_HINTS: Final = {
    404: "is the path right? Many servers answer at /mcp",
    405: "it may speak the older transport of MCP (HTTP+SSE), which is not supported",
    429: "it has too many requests",
}


@asynccontextmanager
async def speaking(url: str, headers: Mapping[str, str], outbound: Outbound) -> AsyncGenerator[Any]:
    """The two message streams of a session with an endpoint."""
    async with client(outbound, connections_max=CONNECTIONS_MAX) as session:
        transport = _Guarded(session)
        async with (
            httpx2.AsyncClient(transport=transport, headers=dict(headers), trust_env=False, timeout=None) as http,
            streamable_http_client(url, http_client=http, max_sse_event_size=MESSAGE_BYTES_MAX) as streams,
        ):
            yield streams


class _Guarded(httpx2.AsyncBaseTransport):
    """Sends httpx2's requests with our client: hosts are resolved once and checked; redirects are returned to the
    SDK, which follows those within the origin."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await request.aread()
        asked = Request.of(content) if request.method == "POST" else None
        waits_for_answer = asked is not None or request.method == "GET"
        timeout = aiohttp.ClientTimeout(total=None if waits_for_answer else NOTIFY_SECONDS_MAX, connect=10)
        try:
            response = await self._session.request(
                request.method,
                str(request.url),
                data=content,
                allow_redirects=False,
                timeout=timeout,
                headers=[(name, value) for name, value in request.headers.multi_items() if name.lower() not in _OURS],
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # OSError: also a TimeoutError and a refused address.
            return _unreachable(error, request)
        if response.content_type == "text/event-stream" and response.status < 300:
            return _passed(response, request, Events(response, asked, MESSAGE_BYTES_MAX))
        if asked is None or 300 <= response.status < 400:
            return _passed(response, request, Whole(response, MESSAGE_BYTES_MAX))
        return await _answered(response, request, asked)


def _passed(response: aiohttp.ClientResponse, request: httpx2.Request, body: httpx2.AsyncByteStream) -> httpx2.Response:
    kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _UNPACKED]
    return httpx2.Response(response.status, headers=kept, stream=body, request=request)


async def _answered(response: aiohttp.ClientResponse, request: httpx2.Request, asked: Request) -> httpx2.Response:
    """The answer to a request, read whole."""
    status = response.status
    try:
        body = await read_bounded(response, MESSAGE_BYTES_MAX)
    except BodyError as error:
        return _error(request, "tool_failed", f"The MCP server sent an answer that {error}.")
    except (aiohttp.ClientError, OSError) as error:
        if status < 400:
            return _unreachable(error, request)
        body = b""
    finally:
        response.close()
    if "mcp-session-id" in request.headers and _forgotten(status, body, asked):
        return _error(request, FORGOTTEN, f"The MCP server has forgotten this session (it answered {status}).")
    if status in (401, 403):
        return _error(request, "tool_refused", _credential(status, request))
    if len(body) > MESSAGE_BYTES_MAX:
        return _error(request, "tool_failed", f"The MCP server's answer is over {MESSAGE_BYTES_MAX} bytes.")
    try:
        message = repaired(body, asked, charset_of(response))
    except NoMessage as error:
        return _error(request, "tool_failed", _no_message(response, body, error))
    if status >= 400 and error_of(message) is None:
        return _error(request, "tool_failed", _no_message(response, body, NoMessage("no error")))
    headers = {"Content-Type": "application/json"}
    if (session := response.headers.get("mcp-session-id")) is not None:
        headers["mcp-session-id"] = session
    return httpx2.Response(200, headers=headers, content=message, request=request)


def _forgotten(status: int, body: bytes, asked: Request) -> bool:
    """Whether a refusal means an unknown session, or concerns the call itself, which then may have been made.

    A JSON-RPC error that answers this very request and says nothing of a session is the server's word on the call.
    """
    error = error_of(body)
    if status in _UNKNOWN_SESSION:
        if error is None or _id_of(body) != asked.id:
            return True
        said = "session" in str(error.get("message")).lower() or session_lost(body)
        return said or (status == 404 and error["code"] != METHOD_NOT_FOUND)
    # The server's own trouble, unless it says what it is about.
    return status >= 400 and len(body) <= SHORT_BYTES_MAX and session_lost(body)


def _id_of(body: bytes) -> Any:
    message = orjson.loads(body)
    return message.get("id")


def _credential(status: int, request: httpx2.Request) -> str:
    if "authorization" in request.headers or status == 403:
        return f"The MCP server refused the credential ({status})."
    return (
        f"The MCP server wants a credential ({status}): give it in config.headers, "
        "for example Authorization with a secret."
    )


def _no_message(response: aiohttp.ClientResponse, body: bytes, error: NoMessage) -> str:
    """What came instead of a message, with the address: usually that is what is wrong."""
    status, html = response.status, response.content_type == "text/html"
    what = f"{status} {response.reason or ''}".strip()
    if status < 400:
        what = f"{status} and {'a web page; is this the address of an MCP server?' if html else error}"
    elif hint := _HINTS.get(status):
        what = f"{what} ({hint})"
    excerpt = "" if html or error.whole else " ".join(body[:2_000].decode("utf-8", "replace").split())
    end = f": {excerpt[:EXCERPT_CHARACTERS_MAX]}" if excerpt else "" if what.endswith("?") else "."
    return f"The MCP server at {response.url.origin()}{response.url.raw_path} answered {what}{end}"


def _unreachable(error: Exception, request: httpx2.Request) -> httpx2.Response:
    code = "tool_address_refused" if refused(error) else "tool_unreachable"
    return _error(request, code, failure(error, str(request.url)))


def _error(request: httpx2.Request, code: str, message: str) -> httpx2.Response:
    """An answer that we create instead of the server."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": message, "data": {CODE: code}}}
    return httpx2.Response(502, json=body, request=request)

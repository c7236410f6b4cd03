"""MCP servers over HTTP: the SDK's streamable HTTP transport over our outbound client, which checks addresses.

A failed request gets a JSON-RPC error as its answer, so that it does not end the session for the other requests.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import httpx2
import orjson
from mcp.client.streamable_http import streamable_http_client

from stoa.outbound import AddressRefused, Outbound, cause
from stoa.outbound.client import BodyError, client, pieces, read_bounded
from stoa.tools.providers.mcp.program import MESSAGE_BYTES_MAX

CODE: Final = "stoa_code"
"""In the data of an error that is ours, not the server's: which of a ToolResult's codes it is."""
FORGOTTEN: Final = "session_forgotten"
"""The same, for a session that the server does not know any more: the call was not made."""
METHOD_NOT_FOUND: Final = -32601
REFUSAL_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 32
NOTIFY_SECONDS_MAX: Final = 3.0
"""The timeout of a notification, because the next message waits for it."""
_OURS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_UNPACKED: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_REFUSALS: Final = frozenset({400, 401, 404, 410, 422, 500, 503})


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
    SDK."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await request.aread()
        waits_for_answer = request.method == "GET" or (
            request.method == "POST" and b'"id"' in content and "id" in orjson.loads(content)
        )
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
        except (
            aiohttp.ClientError,
            OSError,
            ValueError,
        ) as error:  # OSError: also a TimeoutError and a refused address.
            return _told(error, request)
        if request.method == "POST" and "mcp-session-id" in request.headers and response.status in _REFUSALS:
            return await _judged(response, request, content)
        if request.method == "POST" and response.status in (401, 403):
            response.close()
            return _error(request, "tool_refused", f"The MCP server refused the credential ({response.status}).")
        return _answer(response, request)


def _answer(response: aiohttp.ClientResponse, request: httpx2.Request) -> httpx2.Response:
    kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _UNPACKED]
    endless = (response.content_type or "") == "text/event-stream"
    body = _Body(response, None if endless else MESSAGE_BYTES_MAX)
    return httpx2.Response(response.status, headers=kept, stream=body, request=request)


async def _judged(response: aiohttp.ClientResponse, request: httpx2.Request, sent: bytes) -> httpx2.Response:
    """Whether a refusal means an unknown session, or concerns the call itself."""
    try:
        body = await read_bounded(response, REFUSAL_BYTES_MAX)
    except (aiohttp.ClientError, OSError, BodyError):
        body = b""
    finally:
        response.close()
    if b'"id"' in sent and _forgotten(response.status, body, orjson.loads(sent).get("id")):
        message = f"The MCP server has forgotten this session (it answered {response.status})."
        return _error(request, FORGOTTEN, message)
    return httpx2.Response(response.status, headers={"Content-Type": "application/json"}, content=body, request=request)


def _forgotten(status: int, body: bytes, request_id: Any) -> bool:
    """The protocol says 404; servers say 400, 401 and 422 too, with all kinds of bodies, and 500 and 503 with a word
    about the session.

    A JSON-RPC error that answers this very request and says nothing of a session is the server's word on the call.
    """
    if status >= 500:  # The server's own trouble, unless it says what it is about.
        return b"session" in body.lower()
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return True
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or "code" not in error or answer.get("id") != request_id:
        return True
    return (status == 404 and error["code"] != METHOD_NOT_FOUND) or "session" in str(error.get("message")).lower()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, bytes_max: int | None) -> None:
        self._response = response
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        try:
            async for chunk in pieces(self._response):
                total += len(chunk)
                if self._bytes_max is not None and total > self._bytes_max:
                    raise httpx2.StreamError(f"the answer is over {self._bytes_max} bytes")
                yield chunk
        except BodyError as error:
            raise httpx2.StreamError(f"the answer {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.StreamError("the connection fell while the answer was read") from error

    async def aclose(self) -> None:
        self._response.close()


def _told(error: Exception, request: httpx2.Request) -> httpx2.Response:
    """A response that we create instead of the server."""
    found = cause(error)
    code = "tool_address_refused" if isinstance(found, AddressRefused) else "tool_unreachable"
    message = str(found or f"{request.url.host} cannot be reached: {type(error).__name__}.")
    return _error(request, code, message)


def _error(request: httpx2.Request, code: str, message: str) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": message, "data": {CODE: code}}}
    return httpx2.Response(502, json=body, request=request)

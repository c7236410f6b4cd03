"""The way to MCP servers over HTTP: the SDK's streamable HTTP transport, over the one client that keeps to public
addresses.

What goes wrong with one request is told to that request as a JSON-RPC error, so that it does not end the session of the
others.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import httpx2
import orjson
from mcp.client.streamable_http import streamable_http_client

from stoa.outbound import AddressRefused, Outbound, cause
from stoa.outbound.client import BodyError, client, pieces
from stoa.tools.providers.mcp.program import MESSAGE_BYTES_MAX

CODE: Final = "stoa_code"
"""In the data of an error that is ours, not the server's: which of a ToolResult's codes it is."""
CONNECTIONS_MAX: Final = 32
NOTIFY_SECONDS_MAX: Final = 3.0
"""For what wants no answer: the next message waits for it."""
_OURS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})


@asynccontextmanager
async def speaking(url: str, headers: Mapping[str, str], outbound: Outbound) -> AsyncGenerator[Any]:
    """The two streams of a session with an endpoint."""
    async with client(outbound, connections_max=CONNECTIONS_MAX) as session:
        transport = _Guarded(session)
        async with (
            httpx2.AsyncClient(transport=transport, headers=dict(headers), trust_env=False, timeout=None) as http,
            streamable_http_client(url, http_client=http, max_sse_event_size=MESSAGE_BYTES_MAX) as streams,
        ):
            yield streams


class _Guarded(httpx2.AsyncBaseTransport):
    """httpx2's requests, carried by our client: resolved once, checked, pinned; redirects are the SDK's to judge."""

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
        kept = [
            (name, value)
            for name, value in response.headers.items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        endless = (response.content_type or "") == "text/event-stream"
        return httpx2.Response(
            response.status,
            headers=kept,
            stream=_Body(response, None if endless else MESSAGE_BYTES_MAX),
            request=request,
        )


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
    """An answer in the server's place."""
    found = cause(error)
    code = "tool_address_refused" if isinstance(found, AddressRefused) else "tool_unreachable"
    message = str(found or f"{request.url.host} cannot be reached: {type(error).__name__}.")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": message, "data": {CODE: code}}}
    return httpx2.Response(502, json=body, request=request)

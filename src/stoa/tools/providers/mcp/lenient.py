"""Bypasses the SDK's validation of tool results, which refuses a whole list for one bad tool, and a whole result for
one bad block.

The two streams of a session are wrapped. The SDK gets an empty valid result for a `tools/list` or a `tools/call`, with
the server's actual response in its `_meta`; `said` extracts it. Everything else passes unchanged.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Self

import mcp_types as types

_SAID: Final = "stoa/said"
_EMPTY: Final[Mapping[str, Mapping[str, Any]]] = {"tools/list": {"tools": []}, "tools/call": {"content": []}}
REQUESTS_MAX: Final = 10_000
"""Pending requests whose method is stored; the oldest unanswered ones are dropped."""


@asynccontextmanager
async def lenient(opened: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any]:
    """The streams of a transport, wrapped."""
    methods: dict[Any, str] = {}
    async with opened as (read, write):
        yield _Read(read, methods), _Write(write, methods)


def said(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The server's actual response."""
    meta = result.get("_meta")
    found = meta.get(_SAID) if isinstance(meta, dict) else None
    return found if isinstance(found, dict) else result


class _Wrapped:
    """Delegates all other attributes to the stream."""

    def __init__(self, stream: Any, methods: dict[Any, str]) -> None:
        self._stream = stream
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)


class _Write(_Wrapped):
    async def send(self, item: Any) -> None:
        message = item.message
        if isinstance(message, types.JSONRPCRequest) and message.method in _EMPTY:
            if len(self._methods) >= REQUESTS_MAX:
                del self._methods[next(iter(self._methods))]
            self._methods[message.id] = message.method
        await self._stream.send(item)


class _Read(_Wrapped):
    async def receive(self) -> Any:
        return self._passed(await self._stream.receive())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return self._passed(await self._stream.__anext__())

    def _passed(self, item: Any) -> Any:
        message = getattr(item, "message", None)
        if isinstance(message, types.JSONRPCError):
            self._methods.pop(message.id, None)
        if not isinstance(message, types.JSONRPCResponse):
            return item
        method, result = self._methods.pop(message.id, None), message.result
        if method is not None and result.get("resultType", "complete") == "complete":
            kept = {name: result[name] for name in ("resultType", "ttlMs", "cacheScope") if name in result}
            message.result = {**kept, **_EMPTY[method], "_meta": {_SAID: result}}
        return item

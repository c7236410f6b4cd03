"""The client."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from stoa_client import types, wire
from stoa_client._async.conversations import AsyncConversations, OnBusy
from stoa_client._async.knowledge_bases import AsyncKnowledgeBases
from stoa_client._async.reports import AsyncKeys, AsyncModels, AsyncTraces, AsyncUsage
from stoa_client._async.runs import AsyncRuns
from stoa_client._async.stream import AsyncStream
from stoa_client._async.transport import AsyncTransport
from stoa_client.retry import RetryPolicy
from stoa_client.version import __version__


class AsyncStoa:
    """A Stoa server. `url` and `key` default to STOA_URL and STOA_KEY.

    Calls are retried after 429 and 503, and after a lost connection if that is safe: POSTs that create something have
    an Idempotency-Key. Pass `http` to configure proxies, certificates or a transport for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: RetryPolicy | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        headers = {
            "Authorization": f"Bearer {wire.credential(key)}",
            "User-Agent": f"stoa-client-python/{__version__}",
            "Accept": "application/json",
            # Compression would delay the events of a stream.
            "Accept-Encoding": "identity",
        }
        base_url = wire.base_url(url)
        self._http = http or httpx.AsyncClient()
        self._owns_http = http is None
        transport = AsyncTransport(self._http, base_url, headers, retries or RetryPolicy())
        self.url = transport.base_url
        self.conversations = AsyncConversations(transport)
        self.runs = AsyncRuns(transport)
        self.knowledge_bases = AsyncKnowledgeBases(transport)
        self.models = AsyncModels(transport)
        self.traces = AsyncTraces(transport)
        self.usage = AsyncUsage(transport)
        self.keys = AsyncKeys(transport)

    async def send(
        self,
        conversation_id: str,
        content: types.Content,
        *,
        model_id: str | None = None,
        subagents_enabled: bool | None = None,
        tools: list[str] | None = None,
        on_busy: OnBusy | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncStream:
        """Sends a message; returns the stream of the run that answers it. A busy conversation raises ConflictError."""
        return await self.conversations.send(
            conversation_id,
            content,
            model_id=model_id,
            subagents_enabled=subagents_enabled,
            tools=tools,
            on_busy=on_busy,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )

    async def ask(self, conversation_id: str, content: types.Content) -> str:
        """Sends a message, waits for the complete answer and returns its text. Raises RunFailed, RunCanceled."""
        async with await self.send(conversation_id, content) as stream:
            return await stream.output()

    async def aclose(self) -> None:
        """Closes the connections, unless `http` was passed to the client."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncStoa({self.url!r})"

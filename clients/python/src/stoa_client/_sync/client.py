# Written by tools/clients/unasync.py from _async/client.py; change that.
"""The client."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from stoa_client import types, wire
from stoa_client._sync.conversations import Conversations, OnBusy
from stoa_client._sync.knowledge_bases import KnowledgeBases
from stoa_client._sync.reports import Keys, Models, Traces, Usage
from stoa_client._sync.runs import Runs
from stoa_client._sync.stream import Stream
from stoa_client._sync.transport import Transport
from stoa_client.retry import RetryPolicy
from stoa_client.version import __version__


class Stoa:
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
        http: httpx.Client | None = None,
    ) -> None:
        headers = {
            "Authorization": f"Bearer {wire.credential(key)}",
            "User-Agent": f"stoa-client-python/{__version__}",
            "Accept": "application/json",
            # Compression would delay the events of a stream.
            "Accept-Encoding": "identity",
        }
        base_url = wire.base_url(url)
        self._http = http or httpx.Client()
        self._owns_http = http is None
        transport = Transport(self._http, base_url, headers, retries or RetryPolicy())
        self.url = transport.base_url
        self.conversations = Conversations(transport)
        self.runs = Runs(transport)
        self.knowledge_bases = KnowledgeBases(transport)
        self.models = Models(transport)
        self.traces = Traces(transport)
        self.usage = Usage(transport)
        self.keys = Keys(transport)

    def send(
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
    ) -> Stream:
        """Sends a message; returns the stream of the run that answers it. A busy conversation raises ConflictError."""
        return self.conversations.send(
            conversation_id,
            content,
            model_id=model_id,
            subagents_enabled=subagents_enabled,
            tools=tools,
            on_busy=on_busy,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )

    def ask(self, conversation_id: str, content: types.Content) -> str:
        """Sends a message, waits for the complete answer and returns its text. Raises RunFailed, RunCanceled."""
        with self.send(conversation_id, content) as stream:
            return stream.output()

    def close(self) -> None:
        """Closes the connections, unless `http` was passed to the client."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Stoa({self.url!r})"

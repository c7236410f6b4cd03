"""The common code of all streaming adapters: one exchange from request to first token, with retries and concessions."""

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson

from stoa.gateway.providers.concessions import CONCESSIONS_MAX, Concessions, conceded
from stoa.gateway.providers.demands import Demands
from stoa.gateway.providers.failures import Failure, classified, found
from stoa.gateway.providers.history import Prepared, prepared
from stoa.gateway.providers.reading import Reading
from stoa.gateway.providers.receiving import Reception, broken
from stoa.gateway.providers.toolcalls import Names
from stoa.gateway.providers.transport import Reply, Timeouts, Transport, TransportError
from stoa.gateway.types import (
    Capabilities,
    Delta,
    ModelError,
    ModelRequest,
    Notice,
    ReasoningDelta,
    TakeWords,
    TextDelta,
    ToolCallDelta,
)

RETRIES_MAX: Final = 2
BACKOFF_SECONDS: Final = 0.5
RETRY_AFTER_SECONDS_MAX: Final = 20.0
"""If a provider asks for a longer wait, its refusal is passed on."""
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
MESSAGE_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes out, with what a reader of its answer must know."""

    body: bytes
    names: Names
    notices: Sequence[str]


class StreamingModel(ABC):
    """A Model over an HTTP wire. Subclasses say what goes out and how what comes back is read."""

    path: str
    wire: str

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        api_key: str | None,
        wire_name: str,
        abilities: Capabilities,
        *,
        demands: Demands | None = None,
        ca_bundle: str | None = None,
        timeouts: Timeouts | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._base_url = base_url
        self._url = endpoint(base_url, self.path)
        self._source = f"{self.wire} {urlsplit(base_url).netloc.rpartition('@')[2]}"
        self._api_key = api_key
        self._ca_bundle = ca_bundle
        self._wire_name = wire_name
        self._abilities = abilities
        self._demands = demands or self.default_demands(base_url)
        self._granted = Concessions()
        self._timeouts = timeouts or Timeouts()
        self._sleep = sleep

    @property
    def abilities(self) -> Capabilities:
        return self._abilities

    @property
    def source(self) -> str:
        """The wire and the host, because provider data is sent back only to its source."""
        return self._source

    @property
    def wire_name(self) -> str:
        """What the provider calls the model."""
        return self._wire_name

    @abstractmethod
    def default_demands(self, base_url: str) -> Demands: ...

    @abstractmethod
    def headers(self) -> Mapping[str, str]: ...

    @abstractmethod
    def body(self, request: ModelRequest, made: Prepared, granted: Concessions) -> Mapping[str, Any]: ...

    @abstractmethod
    def reading(self, names: Names) -> Reading: ...

    def limit_name(self, granted: Concessions) -> str:  # noqa: ARG002 - one name, unless a wire has two
        """What the wire calls the longest reply."""
        return "max_tokens"

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Delta]]]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        async with AsyncExitStack() as stack:
            yield await self._open(stack, request)

    def _outgoing(self, request: ModelRequest, granted: Concessions) -> Outgoing:
        made = prepared(request, self._demands, granted, self._source)
        return Outgoing(orjson.dumps(self.body(request, made, granted)), Names(made.names), made.notices)

    async def _open(self, stack: AsyncExitStack, request: ModelRequest) -> "_Primed":
        """A reply that has begun. Retries temporary errors, and without a part that the provider refused."""
        granted, told = self._granted, list[str]()
        outgoing = self._outgoing(request, granted)
        first: ModelError | None = None
        attempt = concessions = 0
        while True:
            try:
                async with AsyncExitStack() as attempting:
                    primed = await self._begun(attempting, outgoing)
                    stack.push_async_exit(attempting.pop_all())
                    self._granted = granted.lasting()
                    primed.prepend([Notice(text) for text in (*told, *outgoing.notices)])
                    return primed
            except TransportError as error:
                failure = broken(error, began=False)
            except ModelError as error:
                failure = error
            if not failure.retryable:
                next_ = conceded(granted, failure, request, limit_name=self.limit_name(granted))
                if next_ is None or concessions == CONCESSIONS_MAX:
                    raise first or failure
                first, concessions = first or failure, concessions + 1
                granted = next_.granted
                told += [next_.notice] if next_.notice and next_.notice not in told else []
                outgoing = self._outgoing(request, granted)
                continue
            if request.once or attempt == RETRIES_MAX or (failure.retry_after_seconds or 0) > RETRY_AFTER_SECONDS_MAX:
                raise failure
            backoff = BACKOFF_SECONDS * 2**attempt * random.uniform(0.8, 1.2)  # noqa: S311 — spreads retries, guards nothing
            await self._sleep(failure.retry_after_seconds or backoff)
            attempt += 1

    async def _begun(self, stack: AsyncExitStack, outgoing: Outgoing) -> "_Primed":
        """A reply and its first word. Raises TransportError, and ModelError where it fails before it says anything."""
        reply = await self._accepted(stack, self._url, outgoing.body, self._timeouts, accept="text/event-stream")
        names = outgoing.names
        reception = Reception(self.reading(names), lambda: self.reading(names), self.clean)
        batches = reception.batches(reply)
        deltas: list[Delta] = []
        async for batch in batches:
            deltas += batch
            if any(type(delta) in _WORDS for delta in batch):
                break
        return _Primed(deltas, batches, reception.push_to)

    async def send(
        self,
        stack: AsyncExitStack,
        path: str,
        body: bytes,
        *,
        streamed: bool,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The provider's reply to these bytes, sent as they are to `path` below its address, once. Raises ModelError
        where it cannot be had or is a refusal; reading it raises TransportError. `headers` come beside its own."""
        accept = "text/event-stream" if streamed else "application/json"
        url = self._url if path == self.path else endpoint(self._base_url, path)
        try:
            return await self._accepted(stack, url, body, timeouts or self._timeouts, accept=accept, more=headers)
        except TransportError as error:
            raise broken(error, began=False) from error

    async def _accepted(
        self,
        stack: AsyncExitStack,
        url: str,
        body: bytes,
        timeouts: Timeouts,
        *,
        accept: str,
        more: Mapping[str, str] | None = None,
    ) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": accept, **_PLAIN, **(more or {}), **self.headers()}
        reply = await self._transport.post(url, headers, body, timeouts, self._ca_bundle)
        stack.callback(reply.close)
        if not 200 <= reply.status < 300:
            raise self._refusal(reply, await reply.read(ERROR_BODY_BYTES_MAX))
        return reply

    def _refusal(self, reply: Reply, body: bytes) -> ModelError:
        failure = self._failure(body)
        said = self.clean(failure.message)
        sentence = f"The provider answered {reply.status}{': ' + said if said else ''}"
        if 300 <= reply.status < 400:
            sentence += "; it leads to another address, which base_url should name"
        return classified(failure, sentence, status=reply.status, wait_seconds=_seconds(reply.headers))

    def _failure(self, body: bytes) -> Failure:
        """The provider's own words out of an error body of whatever form."""
        text = body.removeprefix(b"\xef\xbb\xbf").strip()
        try:
            parsed = orjson.loads(text.removeprefix(b"data:"))
        except orjson.JSONDecodeError:
            return Failure("" if text[:1] == b"<" else text.decode("utf-8", "replace"))
        try:
            return found(parsed, refused=True) or Failure("")
        except (TypeError, ValueError, AttributeError, RecursionError):
            return Failure("")

    def clean(self, message: str) -> str:
        """A provider's words as we may repeat them: one bounded line, without the key, that can be encoded and
        stored."""
        if self._api_key:
            message = message.replace(self._api_key, "[key]")
        message = message.encode("utf-8", "replace").decode().replace("\0", "")
        return re.sub(r"\s+", " ", message).strip()[:MESSAGE_CHARACTERS_MAX]


_PLAIN: Final = {"Accept-Encoding": "identity"}
"""A compressed stream comes late: what compresses it waits for more. One that is compressed all the same is read."""
_WORDS: Final = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})


class _Primed:
    """The batches of a reply, the first of which has been read already."""

    def __init__(
        self, first: list[Delta], rest: AsyncIterator[Sequence[Delta]], push_to: Callable[[TakeWords], None]
    ) -> None:
        self._first = first
        self._rest = rest
        self.push_to = push_to

    def prepend(self, deltas: list[Delta]) -> None:
        self._first = [*deltas, *self._first]

    def __aiter__(self) -> "_Primed":
        return self

    def __anext__(self) -> Awaitable[Sequence[Delta]]:
        if self._first:
            first, self._first = self._first, []
            return _ready(first)
        return self._rest.__anext__()


async def _ready(batch: Sequence[Delta]) -> Sequence[Delta]:
    return batch


def endpoint(base_url: str, path: str) -> str:
    """A path below a base URL, whose query (a version, say) stays where it is."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))


def _seconds(headers: Mapping[str, str]) -> float | None:
    """How long the provider wants us to wait. A date in Retry-After is compared with the provider's own clock."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 1e9:
            return seconds
    try:
        wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(wait.total_seconds(), 0.0)

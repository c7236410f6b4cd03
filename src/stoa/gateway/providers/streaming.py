"""What all streaming adapters share: one exchange from request to deltas, its typed errors and its retries."""

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import orjson

from stoa.gateway.providers.repeating import ATTEMPTS_MAX, Repeating
from stoa.gateway.providers.sse import EventParser, EventTooLarge
from stoa.gateway.providers.transport import Reply, Timeouts, Transport, TransportError
from stoa.gateway.types import Capabilities, Delta, Finish, ModelError, ModelRequest, TextDelta

RETRIES_MAX: Final = 2
BACKOFF_SECONDS: Final = 0.5
RETRY_AFTER_SECONDS_MAX: Final = 20.0
"""A provider that wants us to wait longer gets its refusal passed on."""
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
MESSAGE_CHARACTERS_MAX: Final = 500

_KINDS: Final = {
    "connect": ("model_unreachable", "The model's provider cannot be reached"),
    "timeout": ("model_timeout", "The model's provider did not begin to answer in time"),
    "silence": ("model_stalled", "The model fell silent in the middle of its answer"),
    "broken": ("model_stream_truncated", "The model's answer broke off before its end"),
}


class Reading(ABC):
    """Turns the events of one reply into deltas. One per exchange."""

    finish: Finish | None = None

    @abstractmethod
    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        """Appends what the event says to `out`. Raises ModelError for an error that the provider sends in mid-stream."""


class StreamingModel(ABC):
    """A Model over an HTTP wire. Subclasses say what goes out and how what comes back is read."""

    path: str

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        api_key: str | None,
        wire_name: str,
        abilities: Capabilities,
        *,
        timeouts: Timeouts | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._url = base_url.rstrip("/") + self.path
        self._api_key = api_key
        self._wire_name = wire_name
        self._abilities = abilities
        self._timeouts = timeouts or Timeouts()
        self._sleep = sleep

    @property
    def abilities(self) -> Capabilities:
        return self._abilities

    @abstractmethod
    def headers(self) -> Mapping[str, str]: ...

    @abstractmethod
    def body(self, request: ModelRequest) -> Mapping[str, Any]: ...

    @abstractmethod
    def reading(self) -> Reading: ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Delta]]]:
        return self._stream(orjson.dumps(self.body(request)))

    @asynccontextmanager
    async def _stream(self, body: bytes) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        async with AsyncExitStack() as stack:
            reply = await self._open(stack, body)
            yield self._deltas(reply)

    async def _open(self, stack: AsyncExitStack, body: bytes) -> Reply:
        """A 200 that streams events. Retries what a moment may cure; a retry here costs nothing, for nothing has been said yet."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **self.headers()}
        for attempt in range(RETRIES_MAX + 1):
            try:
                async with AsyncExitStack() as attempting:
                    reply = await attempting.enter_async_context(
                        self._transport.post(self._url, headers, body, self._timeouts)
                    )
                    if reply.status != 200:
                        raise self._refusal(reply, await reply.read(ERROR_BODY_BYTES_MAX))
                    if "text/event-stream" not in reply.headers.get("content-type", ""):
                        kind = reply.headers.get("content-type", "nothing in particular")
                        raise ModelError(
                            "model_protocol_error",
                            f"The provider answered with {kind} instead of a stream.",
                            retryable=False,
                        )
                    stack.push_async_exit(attempting.pop_all())
                    return reply
            except TransportError as error:
                failure = _broken(error, began=False)
            except ModelError as error:
                failure = error
            if (
                not failure.retryable
                or attempt == RETRIES_MAX
                or (failure.retry_after_seconds or 0) > RETRY_AFTER_SECONDS_MAX
            ):
                raise failure
            backoff = BACKOFF_SECONDS * 2**attempt * random.uniform(0.8, 1.2)  # noqa: S311 — spreads retries, guards nothing
            await self._sleep(failure.retry_after_seconds or backoff)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _deltas(self, reply: Reply) -> AsyncIterator[Sequence[Delta]]:
        parser, reading = EventParser(), self.reading()
        repeating: Repeating | None = None
        attempts = ATTEMPTS_MAX
        try:
            async for chunk in reply.chunks():
                if repeating is not None and not parser.open and (text := repeating.text(chunk)) is not None:
                    if text:
                        yield [TextDelta(text)]
                    continue
                whole = not parser.open
                out = self._batch(parser.feed(chunk), reading)
                if whole and attempts and len(out) == 1 and reading.finish is None and type(out[0]) is TextDelta:
                    attempts -= 1
                    repeating = Repeating.learned(chunk, self._read_alone)
                if out:
                    yield out
            if out := self._batch(parser.close(), reading):
                yield out
        except TransportError as error:
            if reading.finish is None:  # Some servers cut the connection instead of ending it well.
                raise _broken(error, began=True) from error
        except EventTooLarge as error:
            raise ModelError(
                "model_protocol_error", "The model sent an event of over 1 MiB.", retryable=False
            ) from error
        if reading.finish is None:
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        yield [reading.finish]

    def _read_alone(self, events: bytes) -> Sequence[Delta]:
        """What these bytes say to a reader that knows nothing of what came before; nothing where that is not all of it."""
        parser, reading = EventParser(), self.reading()
        out = self._batch(parser.feed(events), reading)
        return out if reading.finish is None and not parser.open else ()

    def _batch(self, events: Any, reading: Reading) -> list[Delta]:
        out: list[Delta] = []
        for data in events:
            if data == b"[DONE]":
                continue
            try:
                event = orjson.loads(data)
            except orjson.JSONDecodeError as error:
                raise ModelError(
                    "model_protocol_error", "The model's stream holds something that is no JSON.", retryable=True
                ) from error
            if not isinstance(event, dict):
                raise ModelError(
                    "model_protocol_error", "The model's stream holds an event of an unknown form.", retryable=True
                )
            try:
                reading.read(event, out)
            except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
                raise ModelError(
                    "model_protocol_error", "The model's stream holds an event of an unknown form.", retryable=True
                ) from error
        return joined(out)

    def _refusal(self, reply: Reply, body: bytes) -> ModelError:
        said = self.clean(_message(body))
        status, lowered = reply.status, said.lower()
        sentence = f"The provider answered {status}{': ' + said if said else ''}"
        if status in (401, 403):
            return ModelError("model_unauthorized", sentence, retryable=False, status=status)
        if status == 404:
            return ModelError("model_not_found", sentence, retryable=False, status=status)
        if status in (429, 529):
            code = "model_rate_limited" if status == 429 else "model_overloaded"
            return ModelError(
                code,
                sentence,
                retryable=True,
                status=status,
                retry_after_seconds=_seconds(reply.headers.get("retry-after")),
            )
        if status >= 500:
            return ModelError(
                "model_overloaded",
                sentence,
                retryable=True,
                status=status,
                retry_after_seconds=_seconds(reply.headers.get("retry-after")),
            )
        if ("context" in lowered and ("length" in lowered or "window" in lowered)) or "prompt is too long" in lowered:
            return ModelError("context_length_exceeded", sentence, retryable=False, status=status)
        return ModelError("model_refused_request", sentence, retryable=False, status=status)

    def clean(self, message: str) -> str:
        """A provider's words as we may repeat them: one bounded line, without the key."""
        if self._api_key:
            message = message.replace(self._api_key, "[key]")
        return re.sub(r"\s+", " ", message).strip()[:MESSAGE_CHARACTERS_MAX]


def joined(deltas: list[Delta]) -> list[Delta]:
    """Neighbouring pieces of text as one: what arrived together is said together."""
    if len(deltas) < 2:
        return deltas
    out: list[Delta] = [deltas[0]]
    for delta in deltas[1:]:
        last = out[-1]
        if isinstance(delta, TextDelta) and isinstance(last, TextDelta):
            out[-1] = TextDelta(last.text + delta.text)
        else:
            out.append(delta)
    return out


def _broken(error: TransportError, *, began: bool) -> ModelError:
    code, sentence = _KINDS[error.kind]
    if error.kind == "broken" and not began:
        code, sentence = "model_unreachable", "The model's provider closed the connection without an answer"
    return ModelError(code, f"{sentence}: {error}.", retryable=True)


def _message(body: bytes) -> str:
    """The provider's own words out of an error body of whatever form."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "" if body.lstrip()[:1] == b"<" else body.decode("utf-8", "replace")
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    return str(error.get("message", "")) if isinstance(error, dict) else str(error)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its date form is not worth a parser here: backoff serves."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None

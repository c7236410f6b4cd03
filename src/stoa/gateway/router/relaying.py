"""Providers with OpenAI's API: their responses are relayed unchanged.

Only `model` is replaced in the request. If the caller did not ask for the usage chunk of a stream, the gateway asks for
it and removes that one event, so that the bill has the provider's count.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final

import orjson

from stoa.gateway.providers.failures import Failure, found
from stoa.gateway.providers.fields import list_of, object_of
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.openai_reading import REASONING, usage_of
from stoa.gateway.providers.reading import broken_off
from stoa.gateway.providers.receiving import WHOLE_BYTES_MAX, broken
from stoa.gateway.providers.sse import EVENT_BYTES_MAX
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.providers.transport import Reply, Timeouts, TransportError
from stoa.gateway.router.types import CallProgress
from stoa.gateway.types import ModelError

WHOLE_TIMEOUTS: Final = Timeouts(first_byte=600.0)
"""An answer that is not streamed begins when it is complete."""
UNCOUNTED_BYTES_MAX: Final = 64 * 1024
"""The limit of buffered events whose text is not counted yet; it is counted when the count is needed, or at this limit.
"""
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
"""Before the last chunk, Ollama's chunks have an empty reason."""
_TEXT: Final = re.compile(
    rb'"(?:content|refusal|reasoning|reasoning_content|arguments|text|thinking)"\s*:\s*"((?:[^"\\]|\\.)*)'
)
DONE: Final = b"[DONE]"
COMMENTS_BYTES_MAX: Final = 64 * 1024
"""The limit of comments before an answer begins, which are relayed; further ones are dropped."""
REPEATED_BYTES_MIN: Final = 32
"""A text of at least this length that occurs twice in one answer is counted once; a shorter one may be a real
repetition."""
_ONLY_AN_ERROR: Final = "it says only that there was an error"
SAMPLES: Final = 4
"""How many events with text are counted at once; from them the text in the bytes of the others is estimated."""


async def read_whole(
    stack: AsyncExitStack, model: OpenAIModel, path: str, body: bytes, progress: CallProgress
) -> tuple[bytes, str]:
    """An answer that is not streamed, and its content type. Raises ModelError."""
    reply = await model.send(stack, path, body, streamed=False, timeouts=WHOLE_TIMEOUTS)
    content = await content_of(reply, progress)
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ModelError("model_protocol_error", "The provider's answer is no JSON.", retryable=True) from error
    held = object_of(answer)
    if not held.get("data") and (failure := failure_in(held)) is not None and not _text(held, "message"):
        raise broken_off(failure, model.clean(failure.message))
    progress.began = True
    if (usage := usage_of(object_of(held.get("usage")))) is not None:
        progress.report(usage)
    else:
        progress.characters = _text(held, "message")
    return content, reply.headers.get("content-type", "application/json")


async def content_of(reply: Reply, progress: CallProgress | None = None) -> bytes:
    """The whole body. Raises ModelError; if the body breaks off, `progress` says how much was received."""
    content = bytearray()
    count_at = 1
    length = reply.headers.get("content-length", "")
    announced = int(length) if length.isdecimal() and len(length) < 10 else 0
    try:
        async for chunk in reply.chunks():
            content += chunk
            if len(content) > WHOLE_BYTES_MAX:
                raise ModelError("model_protocol_error", "The provider's answer is over 16 MiB.", retryable=False)
            if progress is not None and len(content) >= count_at and len(content) != announced:
                progress.place.counted(text_so_far(content))
                count_at = len(content) + (len(content) // 20 if len(content) < UNCOUNTED_BYTES_MAX else len(content))
    except TransportError as error:
        if progress is not None and content:
            progress.began, progress.characters = True, text_so_far(content)
        raise broken(error, began=True) from error
    return bytes(content)


def text_so_far(content: bytes | bytearray) -> int:
    """The number of characters in the received beginning of a whole answer, estimated without parsing. Reasoning that
    is repeated under a second name counts once."""
    counted, long = 0, set[bytes]()
    for piece in (found_[1] for found_ in _TEXT.finditer(content)):
        if len(piece) >= REPEATED_BYTES_MIN:
            if piece in long:
                continue
            long.add(piece)
        counted += len(piece)
    return counted


def failure_in(held: Mapping[str, Any]) -> Failure | None:
    """The error in an answer or an event, beside its choices or in one of them; None if there is none. OpenRouter and
    others end a stream by a choice whose `finish_reason` is `error`."""
    choices = [object_of(choice) for choice in list_of(held.get("choices"))]
    if not choices or held.get("error"):
        return found(held)
    if any(choice.get("finish_reason") == "error" for choice in choices):
        return next((one for choice in choices if (one := found(choice)) is not None), Failure(_ONLY_AN_ERROR))
    return None


class Relay:
    """One streamed answer. `open` reads up to its first event, so that every earlier failure can be retried; `pieces`
    yields the bytes for the caller, in whole events."""

    end: ClassVar[bytes] = b"data: [DONE]\n\n"
    """The end mark, if the provider sends none."""

    def __init__(self, model: StreamingModel, progress: CallProgress, *, strip: bool, answers: int = 1) -> None:
        """`answers` is the number of choices (`n`): the stream is complete when the last of them has ended."""
        self._answers = answers
        self._model = model
        self._progress = progress
        self._strip = strip
        self._rest = b""
        self._uncounted: list[bytes] = []
        self._uncounted_bytes = self._uncounted_events = 0
        self._samples = self._sample_overhead = self._sample_bytes = self._sample_characters = 0
        self._first: list[bytes] = []
        self._chunks: AsyncIterator[bytes] | None = None
        self._reply: Reply | None = None
        self.done = False
        """The provider's end mark was received."""
        self._ends = 0
        self._finished = False
        """A finish reason was received, so the provider may close the connection."""
        self._failure: ModelError | None = None
        """An error that the provider sent inside the stream. The events before it are yielded first."""
        self.trailer = b""
        """The end mark, which the caller gets after the call is billed."""

    async def open(self, stack: AsyncExitStack, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Raises ModelError if the answer fails before its first event."""
        reply = await self._model.send(stack, self._model.path, body, streamed=True, headers=headers)
        self._reply, self._chunks = reply, reply.chunks()
        kind = reply.headers.get("content-type", "")
        if "json" in kind:
            raise self._refused(await content_of(reply))
        try:
            async for chunk in self._chunks:
                if (events := self._whole_events(chunk)) and (relayed := self._relayed(events, check=True)):
                    if b"data:" in relayed or sum(map(len, self._first)) < COMMENTS_BYTES_MAX:
                        self._first.append(relayed)
                    if self._begins(relayed):
                        self._progress.began = True
                        return
                if self.done:
                    break
        except TransportError as error:
            raise broken(error, began=False) from error
        raise ModelError("model_stream_truncated", "The provider ended its answer before it began.", retryable=True)

    def _begins(self, events: bytes) -> bool:
        """Whether the answer begins with these events. Azure's first event has only the filter results of the prompt,
        and no choice."""
        return any(parsed(event).get("choices") for event in split(events))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises ModelError if the provider breaks off; the events before were yielded."""
        assert self._chunks is not None
        assert self._reply is not None
        for first in self._first:
            yield first
        try:
            if not self.done and self._failure is None:
                async for chunk in self._chunks:
                    if (events := self._whole_events(chunk)) and (relayed := self._relayed(events)):
                        yield relayed
                    if self.done or self._failure is not None:
                        break
                else:
                    if self._rest.strip() and (relayed := self._relayed(self._rest + b"\n\n")):
                        yield relayed  # Some servers omit the last blank line.
        except TransportError as error:
            if not (self.done or self._finished):  # Some servers cut the connection without a proper end.
                raise broken(error, began=True) from error
        if self._failure is not None:
            raise self._failure
        if not (self.done or self._finished):
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        if not self.done:
            self.trailer = self.end
        self._reply.ended = True

    def count(self) -> None:
        """Counts the buffered events, for the estimate if the provider sends no usage."""
        if self._progress.usage is None:
            self._count_now()
        self._uncounted.clear()

    # --- events -----------------------------------------------------------------------------------------------------
    def _whole_events(self, chunk: bytes) -> bytes:
        """The complete events; an incomplete one stays buffered. Raises ModelError if it grows too large."""
        data = self._rest + chunk if self._rest else chunk
        if data.endswith(b"\n\n"):
            self._rest = b""
            return data
        end = max((found_.end() for found_ in _END.finditer(data)), default=0)
        self._rest = data[end:]
        if len(self._rest) > EVENT_BYTES_MAX:
            raise ModelError(
                "model_protocol_error", "An event of the provider's stream is over 1 MiB.", retryable=False
            )
        return data[:end]

    def _relayed(self, events: bytes, *, check: bool = False) -> bytes:
        """The events for the caller. `check`: these are the first events; after an error in them the next target is
        called."""
        if DONE in events:
            events = self._without_end(events)
        if b'"error"' in events:
            events = self._until_failure(events)
            if check and self._failure is not None and not text_so_far(events):
                raise self._failure  # No content came before it.
        if b'"usage"' in events and _USAGE.search(events):
            events = self._without_usage(events)
        self._gather(events)
        return events

    def _without_end(self, events: bytes) -> bytes:
        kept: list[bytes] = []
        for event in split(events):
            if not self.done and data_of(event).strip() == DONE:
                self.done, self.trailer = True, event
            elif not self.done:
                kept.append(event)
        return b"".join(kept)

    def _until_failure(self, events: bytes) -> bytes:
        """The events before an error that the provider sent inside the stream."""
        kept: list[bytes] = []
        for event in split(events):
            held = parsed(event)
            if (failure := failure_in(held)) is not None:
                self._failure = broken_off(failure, self._model.clean(failure.message))
                if _text(held, "delta"):  # Text in the same event as the error.
                    kept.append(_without_error(held))
                break
            kept.append(event)
        return b"".join(kept)

    def _without_usage(self, events: bytes) -> bytes:
        kept: list[bytes] = []
        for event in split(events):
            held = parsed(event)
            if (usage := usage_of(object_of(held.get("usage")))) is not None:
                self._progress.report(usage)
                if self._strip and not held.get("choices"):
                    continue
            kept.append(event)
        return b"".join(kept)

    def _gather(self, events: bytes) -> None:
        """Buffers events until their text must be counted. The first ones are counted at once: from them the text in
        the bytes of the others is estimated if this process is killed."""
        closes = self._closes(events)
        if closes or self._samples < SAMPLES:
            self._count(events)
            self._progress.place.counted(self._progress.characters)
        else:
            self._uncounted.append(events)
            self._uncounted_bytes += len(events)
            self._uncounted_events += events.count(b"data:")
        if self._uncounted_bytes > UNCOUNTED_BYTES_MAX:
            self._count_now()
        elif self._uncounted_bytes:
            self._progress.place.came(self._uncounted_bytes, self._uncounted_events)

    def _closes(self, events: bytes) -> bool:
        """Whether one of these events has a finish reason; counts them."""
        if _FINISH.search(events) is None:
            return False
        self._ends += sum(1 for _ in _FINISH.finditer(events))
        self._finished = self._finished or self._ends >= self._answers
        return True

    def _count_now(self) -> None:
        for events in self._uncounted:
            self._count(events)
        self._uncounted.clear()
        self._uncounted_bytes = self._uncounted_events = 0
        self._progress.place.counted(self._progress.characters)

    def _count(self, events: bytes) -> None:
        for event in split(events):
            characters = self._characters(parsed(event))
            self._progress.characters += characters
            if characters and self._samples < SAMPLES:
                self._weigh(event, characters)

    def _weigh(self, event: bytes, characters: int) -> None:
        unicode = event.count(b"\\u")
        escaped = event.count(b"\\") - unicode + 5 * unicode
        text_bytes = characters + len(event) - len(event.decode(errors="replace")) + escaped
        self._samples += 1
        self._sample_overhead += max(len(event) - text_bytes, 0)
        self._sample_bytes += text_bytes
        self._sample_characters += characters
        self._progress.place.shaped(self._sample_overhead / self._samples, self._sample_characters / self._sample_bytes)

    def _characters(self, held: Mapping[str, Any]) -> int:
        """The number of characters of text in one event."""
        return _text(held, "delta")

    def _refused(self, content: bytes) -> ModelError:
        """Handles a JSON answer to a request for a stream: usually an error with the status 200."""
        try:
            failure = found(orjson.loads(content), refused=False)
        except orjson.JSONDecodeError:
            failure = None
        if failure is not None:
            return broken_off(failure, self._model.clean(failure.message))
        return ModelError(
            "model_protocol_error", "The provider answered with JSON instead of a stream.", retryable=False
        )


def split(events: bytes) -> Iterator[bytes]:
    """Whole events, each with the blank line that ends it."""
    start = 0
    for end in _END.finditer(events):
        yield events[start : end.end()]
        start = end.end()
    if start < len(events):
        yield events[start:]


def data_of(event: bytes) -> bytes:
    """The data of an event, without its comments, names and ids."""
    if event.startswith(b"data:") and event.find(b"\n", 0, len(event.rstrip())) < 0:
        return event[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def parsed(event: bytes) -> Mapping[str, Any]:
    try:
        return object_of(orjson.loads(data_of(event)))
    except orjson.JSONDecodeError:
        return {}


def _text(held: Mapping[str, Any], part: str) -> int:
    """The number of characters in all choices; `part` is the field with a choice's text: `message` or `delta`."""
    return sum(_said(object_of(choice).get(part)) for choice in list_of(held.get("choices")))


def _without_error(held: Mapping[str, Any]) -> bytes:
    """The event without its error, which is sent in the gateway's own format."""
    choices = [{**object_of(choice), "finish_reason": None} for choice in list_of(held.get("choices"))]
    told = {name: value for name, value in held.items() if name != "error"}
    return b"data: " + orjson.dumps({**told, "choices": choices}) + b"\n\n"


def _said(message: Any) -> int:
    """The number of characters in a message or a delta: text, reasoning, tool calls."""
    held = object_of(message)
    # Some providers send it under two names.
    thought = next((text for name in REASONING if (text := held.get(name))), None)
    texts: Sequence[Any] = [held.get("content"), held.get("refusal"), thought]
    calls = [object_of(object_of(call).get("function")) for call in list_of(held.get("tool_calls"))]
    texts = [*texts, *(value for call in calls for value in (call.get("name"), call.get("arguments")))]
    return sum(len(text) for text in texts if isinstance(text, str))

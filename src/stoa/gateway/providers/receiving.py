"""One reply, from bytes to deltas: a stream of events, or a whole JSON answer where a server does not stream."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from stoa.gateway.providers.failures import found, items_of
from stoa.gateway.providers.loose import Halves, parse
from stoa.gateway.providers.reading import Reading, broken_off
from stoa.gateway.providers.repeating import ATTEMPTS_MAX, Repeating
from stoa.gateway.providers.sse import EventParser, EventTooLarge
from stoa.gateway.providers.transport import Reply, TransportError
from stoa.gateway.types import Delta, ModelError, ReasoningDelta, TakeWords, TextDelta

WHOLE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of an answer that is not streamed."""
AFTER_REASON_SECONDS_MAX: Final = 5.0
_KEEP_ALIVE: Final = re.compile(rb":.*|ping|pong|heartbeat|keep-?alive", re.IGNORECASE)
"""What proxies send as data, to keep a connection open."""
_BOM: Final = b"\xef\xbb\xbf"
_WORDS: Final = frozenset({TextDelta, ReasoningDelta})
_KINDS: Final = {
    "connect": ("model_unreachable", "The model's provider cannot be reached"),
    "timeout": ("model_timeout", "The model's provider did not begin to answer in time"),
    "silence": ("model_stalled", "The model fell silent in the middle of its answer"),
    "broken": ("model_stream_truncated", "The model's answer broke off before its end"),
}


class Reception:
    """`new_reading` makes a reader that knows nothing of this reply; `clean` makes a provider's words fit to be
    shown."""

    def __init__(self, reading: Reading, new_reading: Callable[[], Reading], clean: Callable[[str], str]) -> None:
        self._kind = "nothing in particular"
        self._reading = reading
        self._new_reading = new_reading
        self._clean = clean
        self._halves = Halves()
        self._events = False
        self._parser = EventParser()
        self._repeating: Repeating | None = None
        self._attempts = ATTEMPTS_MAX
        self._reply: Reply | None = None
        self._take: TakeWords | None = None
        self._refused: _Refused | None = None
        self._deadline: float | None = None

    async def batches(self, reply: Reply) -> AsyncIterator[Sequence[Delta]]:
        """Deltas as they arrive, finally `Finish`. Deltas before an error are yielded before it is raised."""
        reading, self._reply = self._reading, reply
        chunks = reply.chunks()
        self._kind = reply.headers.get("content-type", self._kind)
        try:
            out, failure = await self._opening(chunks, self._parser)
            if out:
                yield out
            while failure is None and not reading.ended:
                chunk = await self._next(chunks, said=bool(out))
                out, failure = self._batch(self._parser.close()) if chunk is None else self._read(chunk)
                if out:
                    yield out
                if chunk is None:
                    break
        except TransportError as error:
            if not reading.finished:  # Some servers cut the connection instead of ending it well.
                raise broken(error, began=True) from error
            failure = None
        if failure is not None:
            raise failure
        end = self._end()
        reply.ended = True
        yield end

    async def _next(self, chunks: AsyncIterator[bytes], *, said: bool) -> bytes | None:
        """The next chunk; None at the end. After a reason for the end nothing but usage is due, and it comes at once: a
        server that sends no end mark and keeps the connection open is not waited for."""
        if not self._reading.finished:
            return await anext(chunks, None)
        now = asyncio.get_running_loop().time()
        if said or self._deadline is None:
            self._deadline = now + AFTER_REASON_SECONDS_MAX
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(chunks, None)
        except TimeoutError:
            return None

    def push_to(self, take: TakeWords) -> None:
        """From now on batches of text deltas are passed to `take` while the reader of `batches` waits, which saves a
        task step through all generators in between."""
        assert self._reply is not None, "it has begun"
        self._take = take
        self._reply.offer_to(self._taken)

    def _taken(self, chunk: bytes) -> bool:
        """Parses a chunk when it arrives; false if the reader must be woken."""
        take = self._take
        assert take is not None, "nobody offers chunks otherwise"
        if self._refused is not None:
            return False
        out, failure = self._read(chunk)
        over = failure is not None or self._reading.ended or self._reading.finished
        if not over and (not out or (_only_words(out) and take(out))):
            return True
        self._refused = _Refused(len(chunk), out, failure)
        return False

    def _read(self, chunk: bytes) -> "_Read":
        """What a chunk says, and the error that ended it, if one did."""
        if self._refused is not None:
            return self._read_on(self._refused, chunk)
        parser = self._parser
        whole = not parser.open
        if whole and self._repeating is not None and (text := self._repeating.text(chunk)) is not None:
            return [TextDelta(text)] if text else [], None
        out, failure = self._batch(parser.feed(chunk))
        if whole and self._attempts and len(out) == 1 and failure is None:
            self._attempts -= 1
            self._repeating = self._learned(chunk, out)
        return out, failure

    def _read_on(self, refused: "_Refused", chunk: bytes) -> "_Read":
        """A chunk of which a part was read already, and refused."""
        self._refused = None
        out, failure = refused.out, refused.failure
        if failure is None and not self._reading.ended and len(chunk) > refused.size:
            more, failure = self._batch(self._parser.feed(chunk[refused.size :]))
            out = joined([*out, *more])
        return out, failure

    async def _opening(
        self, chunks: AsyncIterator[bytes], parser: EventParser
    ) -> tuple[list[Delta], ModelError | None]:
        """Distinguishes a stream from a complete answer by its first bytes, whatever the headers say."""
        first = await _beginning(chunks)
        if first.lstrip()[:1] not in (b"{", b"[", b"<"):
            return self._batch(parser.feed(first))
        try:
            said = self._batch(self._whole(first + await _remainder(chunks)))
        except ModelError as error:
            return [], error
        self._reading.ended = True
        return said

    def _learned(self, chunk: bytes, out: Sequence[Delta]) -> Repeating | None:
        """What its events have in common; nothing near an end, or while half a character waits."""
        reading = self._reading
        if type(out[0]) is not TextDelta or reading.finished or reading.ended or self._halves.pending is not None:
            return None
        return Repeating.learned(chunk, lambda events: self.alone(events, self._new_reading))

    def _end(self) -> Sequence[Delta]:
        reading = self._reading
        if not (reading.finished or reading.ended):
            if not self._events:
                raise _protocol_error(
                    f"The provider answered with {self._clean(self._kind)} instead of a stream.", retryable=False
                )
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        out: list[Delta] = []
        finish = reading.close(out)
        return [*self._halves.mended(out), *self._halves.flush(), finish]

    @classmethod
    def alone(cls, events: bytes, new_reading: Callable[[], Reading]) -> Sequence[Delta]:
        """What these bytes say to a reader that knows nothing of what came before; nothing where that is not all of
        it."""
        parser, reading = EventParser(), new_reading()
        reception = cls(reading, new_reading, str)
        out, failure = reception._batch(parser.feed(events))
        unfinished = reading.finished or reading.ended or parser.open or reception._halves.pending is not None
        return () if failure is not None or unfinished else out

    def _batch(self, events: Iterator[bytes]) -> tuple[list[Delta], ModelError | None]:
        """What events say together, and the error that ended them, if one did."""
        out: list[Delta] = []
        failure: ModelError | None = None
        reading, halves = self._reading, self._halves
        try:
            for data in events:
                try:
                    event = orjson.loads(data)
                except orjson.JSONDecodeError:
                    if not data.strip():
                        continue
                    if data.strip().upper() in (b"[DONE]", b"DONE"):
                        reading.ended = True
                        break
                    self._loosely(data, out)
                    continue
                self._events = True
                if type(event) is dict and halves.pending is None:
                    reading.read(event, out)
                else:
                    self._mended(event, out)
                if reading.ended:
                    break
        except ModelError as error:
            failure = error
        except EventTooLarge:
            failure = _protocol_error("The model sent an event of over 1 MiB.", retryable=False)
        except (TypeError, KeyError, AttributeError, IndexError, ValueError, ArithmeticError, RecursionError):
            failure = _protocol_error("The model's stream holds an event of an unknown form.", retryable=True)
        return joined(out), failure

    def _loosely(self, data: bytes, out: list[Delta]) -> None:
        """An event that the strict parser refuses. Raises ModelError."""
        if _KEEP_ALIVE.fullmatch(data.strip()):
            return
        try:
            event = parse(data)
        except ValueError:
            message = "The model's stream holds something that is no JSON."
            raise _protocol_error(message, retryable=True) from None
        self._events = True
        self._mended(event, out)

    def _mended(self, event: Any, out: list[Delta]) -> None:
        """Reads an event whose text may begin or end within a character. Raises ModelError."""
        fresh: list[Delta] = []
        try:
            self._items(event, fresh)
        finally:
            out += self._halves.mended(fresh)

    def _items(self, event: Any, out: list[Delta]) -> None:
        """An event, or several in one list. Raises ModelError for what is neither."""
        for item in items_of(event):
            if isinstance(item, dict):
                self._reading.read(item, out)
            elif isinstance(item, str) and item.strip() == "[DONE]":  # Encoded once too often.
                self._reading.ended = True
            elif item is not None:
                raise _protocol_error("The model's stream holds an event of an unknown form.", retryable=True)

    def _whole(self, body: bytes) -> Iterator[bytes]:
        """The events of a body that is no stream: one JSON document, or one per line. Raises ModelError."""
        text = body.strip()
        if text[:1] == b"<":
            raise _protocol_error(
                f"The provider answered with {self._clean(self._kind)} instead of a stream.", retryable=False
            )
        try:
            document = parse(text)
        except ValueError:
            yield from text.splitlines()
            return
        held = items_of(document)
        if not any(isinstance(item, dict) and ("choices" in item or "content" in item) for item in held):
            failure = found(document, refused=True)
            if failure is not None and failure.message:
                raise broken_off(failure, self._clean(failure.message))
        yield text


_Read = tuple[list[Delta], ModelError | None]


class _Refused(NamedTuple):
    """What the first `size` bytes of a chunk say, which nobody has taken yet."""

    size: int
    out: list[Delta]
    failure: ModelError | None


def _only_words(out: Sequence[Delta]) -> bool:
    return type(out[0]) in _WORDS and (len(out) == 1 or all(type(delta) in _WORDS for delta in out))


async def _beginning(chunks: AsyncIterator[bytes]) -> bytes:
    """The first bytes that say something, without the byte order mark that some servers send."""
    first = b""
    async for chunk in chunks:
        first += chunk
        if first.strip() and not _BOM.startswith(first):
            break
    return first.removeprefix(_BOM)


async def _remainder(chunks: AsyncIterator[bytes]) -> bytes:
    """Raises ModelError for an answer over WHOLE_BYTES_MAX."""
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > WHOLE_BYTES_MAX:
            raise _protocol_error("The provider's answer is over 16 MiB.", retryable=False)
    return b"".join(pieces)


def broken(error: TransportError, *, began: bool) -> ModelError:
    """What a failed exchange is to a run."""
    code, sentence = _KINDS[error.kind]
    if error.kind == "broken" and not began:
        code, sentence = "model_unreachable", "The model's provider closed the connection without an answer"
    return ModelError(code, f"{sentence}: {error}.", retryable=True)


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


def _protocol_error(message: str, *, retryable: bool) -> ModelError:
    return ModelError("model_protocol_error", message, retryable=retryable)

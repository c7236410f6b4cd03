"""Reads the bytes of a provider's answer as the server does, without a socket."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from stoa.gateway import Capabilities, Delta, ModelError, ReasoningDelta, TextDelta, ToolCallDelta
from stoa.gateway.providers.anthropic_reading import AnthropicReading
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.openai_reading import OpenAIReading
from stoa.gateway.providers.receiving import ReplyReader, joined
from stoa.gateway.providers.toolcalls import Names
from stoa.gateway.providers.transport import Transport

NAMES = Names({"look": "look", "ping": "ping"})
CLEAN = OpenAIModel(Transport(), "http://localhost", None, "m", Capabilities(images=True, tools=True)).clean
READINGS = {"openai": OpenAIReading, "anthropic": AnthropicReading}


class Body:
    """A reply of the transport: these chunks, and its end."""

    def __init__(self, chunks: Sequence[bytes], content_type: str = "text/event-stream") -> None:
        self.status = 200
        self.headers = {"content-type": content_type}
        self.ended = False
        self._chunks = chunks
        self._take: Callable[[bytes], bool] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """A refused chunk is returned together with the next one, as if both had arrived before the reader was
        awake."""
        left = list(self._chunks)
        while left:
            chunk = left.pop(0)
            if self._take is not None:
                if self._take(chunk):
                    continue
                chunk += left.pop(0) if left else b""
            yield chunk

    def offer_to(self, take: Callable[[bytes], bool]) -> None:
        self._take = take


class Heard:
    """The deltas of a reply, and the error that ended it, if any."""

    def __init__(self, deltas: Sequence[Delta], error: ModelError | None) -> None:
        self.deltas, self.error = deltas, error
        self.text = "".join(one.text for one in deltas if isinstance(one, TextDelta))
        self.reasoning = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
        self.finish = getattr(deltas[-1], "reason", None) if deltas else None

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """Each call's name and arguments; invalid JSON stays text."""
        found: dict[int, tuple[str, str]] = {}
        for one in self.deltas:
            if isinstance(one, ToolCallDelta):
                name, arguments = found.get(one.index, ("", ""))
                found[one.index] = (name or one.name or "", arguments + one.arguments)
        return [(name, _json(arguments)) for _, (name, arguments) in sorted(found.items())]

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.deltas if isinstance(one, kind)]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def event(value: Any) -> bytes:
    """One event of a stream: bytes unchanged, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return b"data: " + data + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    """One event of OpenAI's API."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


DONE = event(b"[DONE]")


async def hear(wire: str, chunks: Sequence[bytes], content_type: str = "text/event-stream") -> Heard:
    """Raises only untyped errors. Checks that pushing and iterating give the same result."""
    heard = await _heard(wire, Body(chunks, content_type), None)
    for refused in (0, 3):
        pushed = await _heard(wire, Body(chunks, content_type), refused)
        assert joined(pushed.deltas) == joined(heard.deltas), "what is pushed says something else"
        assert repr(pushed.error) == repr(heard.error)
    return heard


async def _heard(wire: str, body: Body, refused: int | None) -> Heard:
    """By iteration alone; or pushed from the first batch on, with each `refused`-th push refused."""
    made = READINGS[wire]
    reader = ReplyReader(made(CLEAN, NAMES, "test host"), lambda: made(CLEAN, NAMES), CLEAN)
    deltas: list[Delta] = []
    pushes = 0

    def take(batch: Sequence[Delta]) -> bool:
        nonlocal pushes
        pushes += 1
        if refused and pushes % refused == 0:
            return False
        assert batch
        assert all(type(delta) in (TextDelta, ReasoningDelta) for delta in batch)
        deltas.extend(batch)
        return True

    try:
        async for batch in reader.batches(body):  # type: ignore[arg-type]
            assert batch, "a batch is never empty"
            deltas += batch
            if refused is not None:
                reader.push_to(take)
    except ModelError as error:
        return Heard(deltas, error)
    return Heard(deltas, None)

"""Bytes of a provider's answer, read as the server reads them: without a socket."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from stoa.gateway import Capabilities, Delta, ModelError, ReasoningDelta, TextDelta, ToolCallDelta
from stoa.gateway.providers.anthropic_reading import AnthropicReading
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.openai_reading import OpenAIReading
from stoa.gateway.providers.receiving import Reception
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

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class Heard:
    """What a reply said, and the error that ended it, if one did."""

    def __init__(self, deltas: Sequence[Delta], error: ModelError | None) -> None:
        self.deltas, self.error = deltas, error
        self.text = "".join(one.text for one in deltas if isinstance(one, TextDelta))
        self.reasoning = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
        self.finish = getattr(deltas[-1], "reason", None) if deltas else None

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """Each call's name and arguments, which are text where they are no JSON."""
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
    """One event of a stream: bytes as they are, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return b"data: " + data + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    """One event of OpenAI's wire."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


DONE = event(b"[DONE]")


async def hear(wire: str, chunks: Sequence[bytes], content_type: str = "text/event-stream") -> Heard:
    """Raises only what is no typed error."""
    made = READINGS[wire]
    reception = Reception(made(CLEAN, NAMES, "test host"), lambda: made(CLEAN, NAMES), CLEAN)
    deltas: list[Delta] = []
    try:
        async for batch in reception.batches(Body(chunks, content_type)):  # type: ignore[arg-type]
            assert batch, "a batch is never empty"
            deltas += batch
    except ModelError as error:
        return Heard(deltas, error)
    return Heard(deltas, None)

"""The agent loop: an async generator of events over ports. It sees no database, no journal and no clock."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from stoa import events, gateway
from stoa.events import Event, Kind
from stoa.gateway import Finish, Model, ModelError, ModelRequest, ReasoningDelta, Usage
from stoa.runs.rules import estimated_tokens


@dataclass(slots=True)
class Progress:
    """What the run has said and used so far: a cancel keeps it."""

    pieces: list[str] = field(default_factory=list[str])
    usage: Usage = field(default_factory=Usage)
    prompt_characters: int = 0
    reasoning_characters: int = 0
    reported: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def used(self) -> Usage:
        """The provider's count, or our estimate where it sent none (yet)."""
        if self.reported:
            return self.usage
        said = sum(map(len, self.pieces)) + self.reasoning_characters
        return self.usage + Usage(estimated_tokens(self.prompt_characters), estimated_tokens(said), estimated=True)


async def drive(request: ModelRequest, model: Model, progress: Progress) -> AsyncIterator[Sequence[Event | events.TextDelta]]:
    """Yields the reply's events in batches, as they come. Raises ModelError."""
    iteration = 1
    progress.prompt_characters += _characters(request)
    finish: Finish | None = None
    async with model.stream(request) as deltas:
        async for batch in deltas:
            said: list[Event | events.TextDelta] = []
            for delta in batch:
                kind = type(delta)
                if kind is gateway.TextDelta:
                    progress.pieces.append(delta.text)  # pyright: ignore[reportAttributeAccessIssue]
                    said.append(events.TextDelta(Kind.RESPONSE_DELTA, delta.text, iteration))  # pyright: ignore[reportAttributeAccessIssue]
                elif isinstance(delta, ReasoningDelta):
                    progress.reasoning_characters += len(delta.text)
                    said.append(events.TextDelta(Kind.REASONING_DELTA, delta.text, iteration))
                elif isinstance(delta, Usage):
                    progress.usage, progress.reported = delta, True
                elif isinstance(delta, Finish):
                    finish = delta
                else:
                    raise ModelError("model_protocol_error", "The model called a tool, but none was offered to it.", retryable=False)
            if said:
                yield said
    assert finish is not None, "a model's stream ends with Finish or raises"
    if finish.reason == "content_filter" and not progress.pieces:
        raise ModelError("content_filtered", "The provider's content filter withheld the answer.", retryable=False)


def _characters(request: ModelRequest) -> int:
    total = len(request.instructions or "")
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, gateway.TextPart):
                total += len(part.text)
            elif isinstance(part, gateway.DocumentPart):
                total += sum(len(passage.text) for passage in part.passages)
    return total

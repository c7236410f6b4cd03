"""Honest doubles, written by hand: a scripted model, ids that count, a clock that stands still. Nothing is patched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from stoa.gateway import Abilities, Delta, Finish, ModelError, ModelRequest, ReasoningDelta, TextDelta, Usage

Step = Sequence[Delta] | ModelError | asyncio.Event
"""What a scripted model does next: say a batch, fail, or wait for the test's signal."""


@dataclass
class ScriptedModel:
    """Answers each request with the next script; the last one is repeated. Records requests and streams left early."""

    scripts: list[list[Step]] = field(default_factory=lambda: [[[TextDelta("Hello"), TextDelta(" there.")], [Usage(3, 2), Finish("stop")]]])
    given_abilities: Abilities = field(default_factory=lambda: Abilities(images=True, tools=True, context_tokens=4_000))
    requests: list[ModelRequest] = field(default_factory=list)
    open: int = 0

    @property
    def abilities(self) -> Abilities:
        return self.given_abilities

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(request)
        self.open += 1
        try:
            yield self._say(script)
        finally:
            self.open -= 1

    async def _say(self, script: Sequence[Step]) -> AsyncIterator[Sequence[Delta]]:
        for step in script:
            if isinstance(step, ModelError):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step


def answer(*pieces: str, reasoning: str | None = None) -> list[Step]:
    """A whole answer, a piece a batch."""
    thoughts: list[Step] = [[ReasoningDelta(reasoning)]] if reasoning else []
    return [*thoughts, *([TextDelta(piece)] for piece in pieces), [Usage(12, len(pieces)), Finish("stop")]]


class CountingIds:
    """00000000-0000-7000-8000-000000000001, …2, …3: version 7 in form, so event ids derive from them as from real ones."""

    def __init__(self) -> None:
        self.last = 0

    def new(self) -> UUID:
        self.last += 1
        return UUID(int=(self.last << 80) | (7 << 76) | (2 << 62) | self.last)


class FixedClock:
    """2026-06-10T09:11:02.123Z until `pass_seconds`. Monotonic time passes with it."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 6, 10, 9, 11, 2, 123_000, UTC)
        self.elapsed = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.elapsed


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Returns once `condition` holds; fails the test when it does not in time. For what gives no signal of its own."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)

"""Honest doubles, written by hand: a scripted model, ids that count, a clock that stands still. Nothing is patched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from stoa.gateway import (
    Capabilities,
    Delta,
    Finish,
    ModelError,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from stoa.kernel.principal import Principal
from stoa.runs import Run
from stoa.tools import Call, Tool, ToolKind, ToolResult

Step = Sequence[Delta] | ModelError | asyncio.Event
"""What a scripted model does next: say a batch, fail, or wait for the test's signal."""


@dataclass
class ScriptedModel:
    """Answers each request with the next script; the last one is repeated. Records requests and streams left early."""

    scripts: list[list[Step]] = field(
        default_factory=lambda: [[[TextDelta("Hello"), TextDelta(" there.")], [Usage(3, 2), Finish("stop")]]]
    )
    given_abilities: Capabilities = field(
        default_factory=lambda: Capabilities(images=True, tools=True, context_tokens=4_000)
    )
    requests: list[ModelRequest] = field(default_factory=list)
    open: int = 0

    def __post_init__(self) -> None:
        self._at_first = list(self.scripts)

    def begin_anew(self) -> None:
        """For the next test of a shared server: the scripts that the model was made with, and no requests."""
        assert self.open == 0, "a run of the test before still reads an answer, and would take this test's script"
        self.scripts = list(self._at_first)
        self.requests.clear()

    @property
    def abilities(self) -> Capabilities:
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


def calling(*calls: tuple[str, str], say: str = "") -> list[Step]:
    """A reply that asks for tool calls: (name, arguments) each, the arguments in two pieces."""
    begun: list[Step] = [[TextDelta(say)]] if say else []
    for index, (name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        begun.append(
            [
                ToolCallDelta(index, "", f"call_{index}", name),
                ToolCallDelta(index, arguments[:half]),
                ToolCallDelta(index, arguments[half:]),
            ]
        )
    return [*begun, [Usage(20, 10), Finish("tool_calls")]]


@dataclass
class ScriptedTool:
    """Answers with `results` in turn (the last one is repeated) and records its calls; `gate` holds each call back."""

    name: str
    results: list[ToolResult] = field(default_factory=lambda: [ToolResult("done")])
    idempotent: bool = False
    approval: bool = False
    editable_params: Sequence[str] = ()
    gate: asyncio.Event | None = None
    made: list[tuple[dict[str, Any], Call]] = field(default_factory=list)
    open: int = 0
    kind: ToolKind = ToolKind.PYTHON
    description: str = "A scripted tool."
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object"})

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        self.made.append((dict(arguments), call))
        self.open += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.open -= 1
        return self.results[min(len(self.made), len(self.results)) - 1]


class ScriptedToolbox:
    """A toolbox that holds these tools and no others."""

    def __init__(self, *tools: ScriptedTool) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.opened = 0

    async def unknown_tools(self, _: Principal, names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name not in self.tools]

    async def unknown_bases(self, _: Principal, base_ids: Sequence[UUID]) -> Sequence[UUID]:
        return base_ids

    async def unknown_references(
        self, _: Principal, references: Sequence[tuple[str, UUID]]
    ) -> Sequence[tuple[str, UUID]]:
        return references

    @asynccontextmanager
    async def open(self, _: Run, names: Sequence[str]) -> AsyncGenerator[Sequence[Tool]]:
        self.opened += 1
        try:
            yield [self.tools[name] for name in names if name in self.tools]
        finally:
            self.opened -= 1


class CountingIds:
    """00000000-0000-7000-8000-000000000001, …2, …3: version 7 in form, so event ids derive from them as from real
    ones."""

    def __init__(self) -> None:
        self.last = 0

    def new(self) -> UUID:
        self.last += 1
        return UUID(int=(self.last << 80) | (7 << 76) | (2 << 62) | self.last)


class FixedClock:
    """2026-06-10T09:11:02.123Z and 0 s, until a test sets `moment` or `elapsed`."""

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

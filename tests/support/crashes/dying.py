"""A server that dies like `kill -9` at the n-th statement around a tool call: for tests/crash/test_ledger.py, in a
process of its own.

A tick is a statement that the server is about to send to the database, the moment before the tool's effect, or the
moment after it. Ticks count from the model's first reply on, so every gap between two statements is one of them.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from stoa.gateway import Capabilities
from stoa.runs import Worker
from stoa.runs.driving import RECORDING
from stoa.tools import Call, ToolKind, ToolResult
from tests.support.doubles import ScriptedModel, ScriptedToolbox, answer, calling
from tests.support.running import serving

DIED = 9


class Countdown:
    def __init__(self, ticks: int) -> None:
        self.left = ticks
        self.running = False

    def tick(self) -> None:
        if self.running:
            self.left -= 1
            if self.left == 0:
                os._exit(DIED)


class EffectTool:
    """Writes a line per effect: the observable result of a call."""

    kind = ToolKind.PYTHON
    description = "Has an effect outside."
    approval = False
    editable_params: tuple[str, ...] = ()

    def __init__(self, name: str, effects: Path, countdown: Countdown, *, idempotent: bool) -> None:
        self.name = name
        self.parameters = {"type": "object"}
        self.idempotent = idempotent
        self._effects = effects
        self._countdown = countdown

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        self._countdown.tick()
        with self._effects.open("a") as file:
            file.write(f"{arguments['n']} {self.name} {call.key}\n")
        self._countdown.tick()
        return ToolResult("done")


class CountingModel(ScriptedModel):
    """Answers a question with a call, and a result with text."""

    countdown: Countdown

    def stream(self, request: Any) -> Any:
        self.countdown.running = True
        last = request.messages[-1]
        self.scripts = (
            [answer("All done.")]
            if last.role == "tool"
            else [calling((last.parts[0].text.split()[0], f'{{"n": {last.parts[0].text.split()[1]}}}'))]
        )
        return super().stream(request)


def parts(effects: Path, ticks: int = 0) -> tuple[CountingModel, ScriptedToolbox]:
    countdown = Countdown(ticks)
    model = CountingModel([], Capabilities(images=False, tools=True))
    model.countdown = countdown
    return model, ScriptedToolbox(
        *(EffectTool(name, effects, countdown, idempotent=name == "repeatable") for name in ("once", "repeatable"))
    )  # type: ignore[arg-type]


def die(dsn: str, directory: str, tool: str, ticks: int) -> None:
    """Sends one message, then dies; exits with 0 if there were fewer ticks."""
    asyncio.run(_die(dsn, Path(directory), tool, ticks))


async def _die(dsn: str, directory: Path, tool: str, ticks: int) -> None:
    model, shelf = parts(directory / "effects", ticks)
    count_statements(model.countdown)
    Worker._claim = nothing  # type: ignore[method-assign] — it would take the runs of those that died before it, and die with them
    async with serving(dsn, directory / f"{tool}-{ticks}", model, toolbox=shelf) as server:
        conversation = await server.conversation(agent={"tools": [tool]})
        body = {"content": f"{tool} {ticks}", "background": True}
        run = await server.call(
            "POST",
            f"/v3/conversations/{conversation}/messages",
            202,
            json=body,
            headers={"Idempotency-Key": f"{tool}-{ticks}"},
        )
        await server.status(run["data"]["id"], "completed")
        model.countdown.running = False


async def nothing(_: Worker) -> bool:
    return False


def count_statements(countdown: Countdown) -> None:
    for name in ("execute", "_execute"):
        _count(name, countdown)


def _of_a_run() -> bool:
    """Other statements of the server (its lease, its polling, our own queries) come at any time, and do not belong to a
    run."""
    task = asyncio.current_task()
    return task is not None and task.get_name().startswith(("run ", "drive ", RECORDING, "journal.writer"))


def _count(name: str, countdown: Countdown) -> None:
    plain = getattr(asyncpg.Connection, name)

    async def counted(self: asyncpg.Connection, query: str, *args: Any, **options: Any) -> Any:
        if _of_a_run():
            countdown.tick()
        return await plain(self, query, *args, **options)

    setattr(asyncpg.Connection, name, counted)

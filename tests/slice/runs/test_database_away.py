"""The database is away in the middle of a step: the run waits for it, and neither fails nor loses an attempt."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from stoa.kernel.errors import DatabaseUnavailable
from stoa.runs import Run
from stoa.tools import Tool
from tests.conftest import serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer


class ShelfBehindADatabase(ScriptedToolbox):
    """Tools are read from the database when a run is taken up; so many times it is away."""

    away = 2

    @asynccontextmanager
    async def open(self, run: Run, names: Sequence[str]) -> AsyncGenerator[Sequence[Tool]]:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("The database cannot be reached just now; try again in a moment.")
        async with super().open(run, names) as opened:
            yield opened


async def test_a_run_waits_for_the_database(dsn: str, tmp_path: Path) -> None:
    tools = ShelfBehindADatabase(ScriptedTool("look"))
    async with serving(dsn, tmp_path, ScriptedModel([answer("Here.")]), toolbox=tools) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["look"]}))
        assert (tools.away, run["status"], run["output"], run["attempt"]) == (0, "completed", "Here.", 1)
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]

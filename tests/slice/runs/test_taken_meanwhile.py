"""A cancel, and another node that takes the run up at the very same moment."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.journal import Head, Journal, JournalKey, JournalWriter, LiveBuffer, Record, RunWriter
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from stoa.kernel.principal import Principal
from stoa.runs import Runs
from tests.conftest import serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, calling


class Contested(Journal):
    """A journal that somebody else takes each time after it was taken, as often as `rivals` says."""

    def __init__(self, database: Database, writer: JournalWriter, live: LiveBuffer, rivals: int) -> None:
        super().__init__(database, writer, live)
        self._own, self.rivals = database, rivals

    async def resume(self, key: JournalKey, head: Head) -> tuple[RunWriter, Record | None]:
        if self.rivals:
            self.rivals -= 1
            async with internal(self._own) as tx:
                await self.take(tx, key)
        return await super().resume(key, head)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(dsn, connections_max=4)
    yield opened
    await opened.close()


async def test_a_cancel_is_acknowledged_only_once_the_run_has_ended(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    tools = ScriptedToolbox(ScriptedTool("pay", approval=True))
    async with serving(dsn, tmp_path, ScriptedModel([calling(("pay", "{}"))]), toolbox=tools) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["pay"]}))
        assert run["status"] == "paused"
        org = UUID((await server.call("GET", "/v1/orgs"))["data"][0]["id"])
        key = UUID((await server.call("GET", "/v1/access-keys"))["data"][0]["id"])
        live, clock = LiveBuffer(), SystemClock()
        journal = Contested(database, JournalWriter(dsn, live, clock), live, rivals=2)
        nothing: Any = None  # No run begins here, so no model is asked for.
        await Runs(database, journal, nothing, RandomIds(), clock, nothing).cancel(
            Principal(org, None, key), UUID(run["id"])
        )
        assert journal.rivals == 0
        events = await server.events(run["id"])
        assert (events[-1]["type"], [event["type"] for event in events].count("run.canceled")) == ("run.canceled", 1)
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]

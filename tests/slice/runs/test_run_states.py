"""The state table governs: every database of the tests refuses what is not in it (tests/support/run_states.py)."""

from itertools import product

import asyncpg
import pytest

from stoa.runs.rules import MOVES
from stoa.runs.types import RunStatus
from tests.conftest import Running
from tests.support import run_states


async def test_every_transition_is_in_the_table(running: Running) -> None:
    run = await running.ask(await running.conversation())
    connection = await asyncpg.connect(running.dsn)
    try:
        for before, after in product(RunStatus, RunStatus):
            await connection.execute(run_states.OFF)
            await connection.execute("UPDATE runs SET status = $2 WHERE id = $1::uuid", run["id"], before.value)
            await connection.execute("RESET session_replication_role")
            change = connection.execute("UPDATE runs SET status = $2 WHERE id = $1::uuid", run["id"], after.value)
            if before is after or after in MOVES[before]:
                await change
            else:
                with pytest.raises(asyncpg.CheckViolationError, match=f"from {before.value} to {after.value}"):
                    await change
    finally:
        await connection.close()

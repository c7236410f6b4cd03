"""How a run ends in the database."""

import asyncpg

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import Running


async def test_last_words_and_end_are_one_transaction(running: Running) -> None:
    running.model.scripts = [[[TextDelta("Hello"), TextDelta(" there."), Usage(3, 2), Finish("stop")]]]
    run = await running.ask(await running.conversation())
    assert run["output"] == "Hello there."
    connection = await asyncpg.connect(running.dsn)
    try:
        rows = await connection.fetch("SELECT xmin::text, kind FROM events WHERE run_id = $1 ORDER BY sequence", run["id"])
        runs_xmin = await connection.fetchval("SELECT xmin::text FROM runs WHERE id = $1", run["id"])
    finally:
        await connection.close()
    transactions = [row["xmin"] for row in rows]
    assert len(rows) == 3
    assert transactions[0] != transactions[1] == transactions[2] == runs_xmin

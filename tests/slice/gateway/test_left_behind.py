"""What a killed process leaves in its file of calls goes on the bill once, whatever state each call was in."""

import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.gateway.ledger import SQL
from stoa.gateway.prices import Price
from stoa.gateway.router.accounting import Accounts
from stoa.gateway.router.open_calls import SEGMENT_PLACES, OpenCalls, abandoned_files
from stoa.gateway.types import Usage
from stoa.kernel.ids import RandomIds
from tests.conftest import Running
from tests.support.bills import key_of

NODE = UUID(int=7)
ENTERED_BATCH = 3


@pytest.fixture
async def database(shared_server: Running) -> AsyncIterator[Database]:
    opened = await Database.open(shared_server.dsn, connections_max=2)
    yield opened
    await opened.close()


async def about(server: Running, database: Database) -> Mapping[str, Any]:
    """Whose calls they are: a new key's with a limit."""
    key_id, client = await key_of(server, spending_limit=10)
    await client.aclose()
    async with internal(database) as tx:
        row = await tx.fetchrow(
            "SELECT k.org_id, p.id AS project_id FROM access_keys k JOIN projects p ON p.org_id = k.org_id"
            " WHERE k.id = $1 LIMIT 1",
            UUID(key_id),
        )
    assert row is not None
    shared = {"org_id": str(row["org_id"]), "project_id": str(row["project_id"]), "key_id": key_id}
    return {**shared, "part": 1, "user_id": "somebody", "prompt_characters": 400}


async def died(directory: Path, whose: Mapping[str, Any], database: Database) -> None:
    """A process that was killed with a call in each state."""
    calls = OpenCalls(directory, NODE)
    calls.open()
    ids = [uuid4() for _ in range(6)]
    places = [calls.take(one, {**whose, "id": str(one)}) for one in ids]
    _, asked, reported, waiting, entered, sent = places
    for place in places[1:]:
        place.asked("a/m")
    asked.counted(100)
    asked.shaped(overhead=150, characters_per_byte=0.5)
    asked.came(2 * 150 + 200, 2)
    reported.reported(Usage(11, 22, 5, 6))
    for place, batch in ((waiting, 0), (entered, ENTERED_BATCH), (sent, ENTERED_BATCH + 1)):
        place.entered("b/m", Usage(1, 2), 0.5)
        place.sent(batch)
    async with internal(database) as tx:
        await tx.execute("DELETE FROM ledger_batches WHERE node_id = $1", NODE)
        await tx.execute("INSERT INTO ledger_batches (node_id, number) VALUES ($1, $2)", NODE, ENTERED_BATCH)
        for one in ids[:2]:
            scope = [UUID(whose[name]) for name in ("org_id", "project_id", "key_id")]
            await tx.execute(SQL.reserve, *scope, one, 1, NODE)
    assert abandoned_files(directory) == [], "a process that lives keeps its file"
    calls.close(keep=True)


async def test_each_call_is_settled_once(shared_server: Running, database: Database, tmp_path: Path) -> None:
    whose = await about(shared_server, database)
    await died(tmp_path, whose, database)
    shutil.copy(tmp_path / str(NODE), tmp_path / "copy")
    table = [Price("a/*", 1_000, 10_000)]
    accounts = Accounts(database, uuid4(), lambda _: table[0].of, tmp_path)
    assert await accounts.settle_left_behind() == 5, "of six calls, one was on the bill"
    shutil.move(tmp_path / "copy", tmp_path / str(NODE))  # Whoever settled it died before the file was removed.
    assert await accounts.settle_left_behind() == 0
    async with internal(database) as tx:
        rows = await tx.fetch(
            "SELECT * FROM model_calls WHERE key_id = $1 ORDER BY model, estimated", UUID(whose["key_id"])
        )
        held = await tx.fetchval("SELECT count(*) FROM key_reservations WHERE node_id = $1", NODE)
        spent = await tx.fetchval("SELECT sum(usd) FROM key_spending WHERE key_id = $1", UUID(whose["key_id"]))
    found = [(row["model"], row["prompt_tokens"], row["completion_tokens"], row["estimated"]) for row in rows]
    # 100 characters were counted, and there are 100 more in 200 bytes of text.
    assert found == [("a/m", 11, 22, False), ("a/m", 100, 50, True), ("b/m", 1, 2, False), ("b/m", 1, 2, False)]
    assert held == 0, "nothing stays reserved"
    assert spent == sum(row["cost_usd"] for row in rows)
    assert list(tmp_path.iterdir()) == []


async def test_a_value_that_cannot_be_stored_drops_its_own_line_of_the_bill(
    shared_server: Running, database: Database, tmp_path: Path
) -> None:
    whose = await about(shared_server, database)
    calls = OpenCalls(tmp_path, node := uuid4())
    calls.open()
    for tokens in (1 << 40, 7):
        calls.take(one := uuid4(), {**whose, "id": str(one)}).entered("a/m", Usage(tokens), 0.0)
    calls.close(keep=True)
    await Accounts(database, RandomIds().new(), lambda _: lambda _: None, tmp_path).settle_left_behind()
    async with internal(database) as tx:
        found = await tx.fetchval(
            "SELECT array_agg(prompt_tokens) FROM model_calls WHERE key_id = $1", UUID(whose["key_id"])
        )
    assert found == [7]
    assert not (tmp_path / str(node)).exists()


def test_places_are_used_again_and_the_file_grows(tmp_path: Path) -> None:
    calls = OpenCalls(tmp_path, NODE)
    calls.open()
    ids = [uuid4() for _ in range(SEGMENT_PLACES + 1)]
    for one in ids:
        calls.take(one, {"id": str(one), "user_id": "u" * 3_000}).asked("m" * 3_000)
    size = (tmp_path / str(NODE)).stat().st_size
    for one in ids[1:]:
        calls.free(one)
    for _ in ids[1:]:
        calls.take(uuid4(), {})
    assert (tmp_path / str(NODE)).stat().st_size == size
    calls.close(keep=True)
    (file,) = abandoned_files(tmp_path)
    lost = {call.about.get("id"): call for call in file.calls()}
    assert lost[str(ids[0])].model is not None, "what is too long is cut off, and harms no other call"
    assert len(file.calls()) == len(ids)
    file.close(keep=False)


def test_where_nothing_can_be_written_calls_are_made_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (None, tmp_path / "file" / "calls"):
        calls = OpenCalls(directory, NODE)
        calls.open()
        place = calls.take(one := uuid4(), {"id": str(one)})
        place.asked("a/m")
        place.entered("a/m", Usage(1), None)
        calls.free(one)
        calls.close(keep=False)

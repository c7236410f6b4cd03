"""How long a project keeps conversations: those in which nothing has happened for so long are deleted as by a request,
with a receipt; nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from tests.support.doubles import ScriptedModel
from tests.support.running import Running, serving

PROVEN = "SELECT count(*) FROM deletions WHERE kind = 'conversation' AND verified_at IS NOT NULL"

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def expiring(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A server that looks for expired conversations all the time."""
    monkeypatch.setattr("stoa.conversations.worker.EXPIRY_SECONDS", 0.05)
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        yield server


@pytest.fixture
async def database(expiring: Running) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(expiring.dsn)
    yield connection
    await connection.close()


async def _aged(database: asyncpg.Connection, conversation: str, days: float, idle: float) -> None:
    await database.execute(
        "UPDATE conversations SET created_at = now() - $2::float8 * interval '1 day',"
        " updated_at = now() - $3::float8 * interval '1 day' WHERE id = $1",
        UUID(conversation),
        days,
        idle,
    )


async def _as_if(database: asyncpg.Connection, run_id: str, status: str) -> None:
    """Past the triggers that watch over runs."""
    async with database.transaction():
        await database.execute("SET LOCAL session_replication_role = replica")
        await database.execute("UPDATE runs SET status = $2 WHERE id = $1", UUID(run_id), status)


async def _until(database: asyncpg.Connection, query: str, value: object) -> None:
    async with asyncio.timeout(20):
        while await database.fetchval(query) != value:
            pass


async def test_what_is_idle_longer_than_its_project_keeps_is_deleted_with_a_receipt(
    expiring: Running, database: asyncpg.Connection
) -> None:
    project = (await expiring.call("GET", "/v1/projects"))["data"][0]
    assert "retention_days" not in project
    old, busy, young, owned = [await expiring.conversation() for _ in range(4)]
    run, paused = await expiring.ask(old), await expiring.ask(busy)
    await database.execute("UPDATE conversations SET owner_id = gen_random_uuid() WHERE id = $1", UUID(owned))
    await _as_if(database, paused["id"], "paused")
    for talk in (old, busy, owned):
        await _aged(database, talk, 40, 31)
    await _aged(database, young, 40, 29)  # Old, and used since.
    path = f"/v1/projects/{project['id']}"
    for wrong in (0, -1, "x", 1e9):
        refused = await expiring.call("PUT", path, 400, json={"name": "Main", "retention_days": wrong})
        assert "retention_days" in refused["error"]["details"]
    kept = await expiring.call("PUT", path, json={"name": "Main", "retention_days": 30})
    assert kept["data"]["retention_days"] == 30
    await _until(database, PROVEN, 2)
    renamed = await expiring.call("PUT", path, json={"name": "Other"})  # As a client that does not know of it.
    assert (renamed["data"]["name"], renamed["data"]["retention_days"]) == ("Other", 30)
    left = {row["id"] for row in await database.fetch("SELECT id FROM conversations")}
    assert left == {UUID(busy), UUID(young)}
    await expiring.call("GET", f"/v1/runs/{run['id']}", 404)
    assert await database.fetchval("SELECT count(*) FROM events WHERE run_id = $1", UUID(run["id"])) == 0
    forever = await expiring.call("PUT", path, json={"name": "Other", "retention_days": None})
    assert "retention_days" not in forever["data"]
    await _as_if(database, paused["id"], "completed")


async def test_a_message_that_comes_before_the_deletion_keeps_its_conversation(
    expiring: Running, database: asyncpg.Connection
) -> None:
    project = (await expiring.call("GET", "/v1/projects"))["data"][0]
    talk, later = await expiring.conversation(), await expiring.conversation()
    await _aged(database, talk, 9, 9)
    other = await asyncpg.connect(expiring.dsn)
    async with other.transaction():
        await other.execute("UPDATE conversations SET updated_at = now() WHERE id = $1", UUID(talk))
        await expiring.call("PUT", f"/v1/projects/{project['id']}", json={"name": "Main", "retention_days": 1})
        await _until(database, WAITING, 1)  # The deletion, for the row.
    await other.close()
    await _aged(database, later, 9, 9)
    await _until(database, PROVEN, 1)
    await expiring.call("GET", f"/v1/conversations/{talk}")
    await expiring.call("GET", f"/v1/conversations/{later}", 404)


async def test_a_file_whose_reading_ends_during_the_deletion_goes_with_its_conversation(
    expiring: Running, database: asyncpg.Connection
) -> None:
    talk = await expiring.conversation()
    file = await database.fetchval(
        "INSERT INTO files (org_id, project_id, id, conversation_id, name, size, mime_type, sha256)"
        " SELECT org_id, project_id, gen_random_uuid(), id, 'a.txt', 3, 'text/plain', decode(repeat('ab', 32), 'hex')"
        " FROM conversations WHERE id = $1 RETURNING id",
        UUID(talk),
    )
    other = await asyncpg.connect(expiring.dsn)
    async with other.transaction():
        await other.execute("UPDATE files SET status = 'ready' WHERE id = $1", file)
        deletion = asyncio.create_task(expiring.call("DELETE", f"/v1/conversations/{talk}"))
        await _until(database, WAITING, 1)
        await other.execute(
            "INSERT INTO file_passages (org_id, project_id, file_id, position, text)"
            " SELECT org_id, project_id, id, 0, 'abc' FROM files WHERE id = $1",
            file,
        )
    await other.close()
    receipt = await expiring.call("GET", f"/v1/deletions/{(await deletion)['deletion_id']}")
    assert receipt["data"]["stores"]["file_passages"] == {"rows": 1, "bytes": 3}

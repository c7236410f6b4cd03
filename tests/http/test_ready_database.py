"""`GET /ready` is 503 while the database cannot store a message, names why, and is 200 again once it can: read-only,
rights revoked, a stranger's lock, no free connections; and an operator's limits on statements break nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def operator(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def ready(server: Running, status: int, named: str = "") -> str:
    """Waits for this status and an answer that holds the name; gives the answer."""
    async with asyncio.timeout(30):
        while True:
            response = await server.client.get("/ready")
            if response.status_code == status and named in response.text:
                return response.text
            await asyncio.sleep(0.05)


async def answered(server: Running) -> int:
    """The status of a message in a conversation of its own, or of making that."""
    model = (await server.call("GET", "/v1/router/models"))["data"][0]["id"]
    made = await server.client.post("/v1/conversations", json={"model_id": model})
    if made.status_code != 201:
        return made.status_code
    path = f"/v3/conversations/{made.json()['data']['id']}/messages"
    return (await server.client.post(path, json={"content": "Hi", "stream": False})).status_code


_CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


async def test_what_keeps_messages_from_being_stored(dsn: str, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as server, operator(dsn) as database:
        name = await database.fetchval("SELECT current_database()")
        await ready(server, 200)

        await database.execute("REVOKE INSERT ON messages, conversations FROM stoa_tenant")
        assert "GRANT INSERT ON conversations TO stoa_tenant" in await ready(server, 503)
        assert await answered(server) == 503, "revoked rights are no bug of ours"
        await database.execute("GRANT INSERT ON messages, conversations TO stoa_tenant")
        await ready(server, 200)

        lock = database.transaction()
        await lock.start()
        await database.execute("LOCK TABLE messages IN SHARE MODE")
        text = await ready(server, 503, "messages")
        assert f"pg_terminate_backend({database.get_server_pid()})" in text
        await lock.rollback()
        await ready(server, 200)
        assert await answered(server) == 200

        await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await database.execute(_CUT)
        await ready(server, 503)
        await database.execute("SET default_transaction_read_only = off")
        await database.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await ready(server, 200)

        # What an operator sets for everybody does not end our statements.
        await database.execute(f"ALTER DATABASE \"{name}\" SET statement_timeout = '1ms'")
        await database.execute(f"ALTER DATABASE \"{name}\" SET lock_timeout = '1ms'")
        await database.execute(_CUT)
        await ready(server, 200)
        assert await answered(server) == 200

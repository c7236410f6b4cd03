"""`GET /ready` is true: 503 while something is stuck without which no message is answered, naming it, and 200 once it
goes on."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stoa.db.listen import Listener
from stoa.journal import JournalWriter
from stoa.kernel import supervise
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel

pytestmark = pytest.mark.timeout(60)


async def ready(server: Running, status: int, named: str = "") -> None:
    """Waits for this status, and for an answer that names the loop."""
    async with asyncio.timeout(20):
        while True:
            response = await server.client.get("/ready")
            if response.status_code == status and named in response.text:
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stuck after a third of a second instead of ten."""
    monkeypatch.setattr(supervise.Heartbeat, "stuck", property(_stuck))
    monkeypatch.setattr(supervise, "RESTART_SECONDS", 0.01)


def _stuck(heartbeat: supervise.Heartbeat) -> bool:
    since = heartbeat._due_since
    return since is not None and heartbeat._monotonic_seconds() - since > 0.3


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["hangs", "raises"])
async def test_a_stuck_journal_writer(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    plain, broken = JournalWriter._tick, True

    async def tick(self: JournalWriter, pens: Any) -> None:
        while broken:
            if how == "raises":
                raise RuntimeError("a bug")
            await asyncio.sleep(0.01)
        await plain(self, pens)

    monkeypatch.setattr(JournalWriter, "_tick", tick)
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        await ready(server, 200)
        conversation = await server.conversation()
        path = f"/v3/conversations/{conversation}/messages"
        await server.call("POST", path, 202, json={"content": "Hi", "background": True})
        await ready(server, 503, "journal.writer")
        assert 'stoa_loop_stuck{loop="journal.writer"} 1' in (await server.client.get("/metrics")).text
        connection = await asyncpg.connect(dsn)
        async with asyncio.timeout(10):
            while not await connection.fetchval("SELECT 1 FROM nodes WHERE stuck = '{journal.writer}'"):
                await asyncio.sleep(0.05)
        await connection.close()
        broken = False
        if how == "raises":  # What waited was fenced off; the next message is what moves the writer.
            await server.client.post(
                f"/v3/conversations/{await server.conversation()}/messages", json={"content": "Hi"}
            )
        await ready(server, 200)


@pytest.mark.usefixtures("impatient")
async def test_a_lost_listen_connection(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, broken = Listener._listen, False

    async def listen(self: Listener) -> None:
        self.heartbeat.begin()
        if broken:
            raise OSError("no way")
        await plain(self)

    monkeypatch.setattr(Listener, "_listen", listen)
    monkeypatch.setattr("stoa.db.listen.RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr("stoa.db.listen.ALIVE_SECONDS", 0.05)
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        await ready(server, 200)
        broken = True
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')"
        )
        await connection.close()
        await ready(server, 503, "db.listen")
        broken = False
        await ready(server, 200)


@pytest.mark.usefixtures("impatient")
async def test_claims_that_fail_each_time(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stoa.runs.worker import Worker  # noqa: PLC0415

    plain, broken = Worker._claim, True

    async def claim(self: Worker) -> bool:
        if broken:
            raise RuntimeError("a bug")
        return await plain(self)

    monkeypatch.setattr(Worker, "_claim", claim)
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        await ready(server, 503, "runs.claim")
        broken = False
        await ready(server, 200)

"""The disk of the data, that of the log, or both are full, and free again: nothing is lost, nobody dies, and readiness
says the truth."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from stoa.db.embedded import EmbeddedServer, start_embedded
from tests.support.crashes.campaign import campaign
from tests.support.crashes.disks import FULL, Disk, NoDisks, small_disks
from tests.support.nodes import Node, script
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def disks(room: Path) -> Iterator[tuple[Disk, Disk]]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(small_disks(room))
        except NoDisks as error:
            pytest.skip(str(error))
        yield made


@dataclass
class Lone:
    """One node on an embedded database of its own."""

    node: Node
    database: EmbeddedServer

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with self.node.client(20) as http:
            return await http.request(method, path, **options)

    async def ready(self, status: int, seconds_max: float = 60) -> httpx.Response:
        async with asyncio.timeout(seconds_max):
            while True:
                with suppress(httpx.TransportError):
                    response = await self.ask("GET", "/ready")
                    if response.status_code == status:
                        return response
                await asyncio.sleep(0.1)

    async def cut_connections(self) -> None:
        connection = await asyncpg.connect(self.database.dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        await connection.close()

    async def healthy(self) -> None:
        report = (await self.node.call("GET", "/v1/doctor"))["data"]
        assert report["healthy"], [check for check in report["checks"] if check["count"]]


@asynccontextmanager
async def lone(data: Path, log: Path) -> AsyncIterator[Lone]:
    async with ScriptedServer() as model:
        database = await start_embedded(data)
        watch = asyncio.create_task(database.watch(0.2))
        node = Node("lone", "", data, model.url, log / "node.log", {"STOA_LOG_LEVEL": "debug"})
        try:
            await node.start()
            yield Lone(node, database)
        finally:
            await node.end()
            watch.cancel()
            await database.stop()


async def test_the_log_is_full(disks: tuple[Disk, Disk], tmp_path: Path) -> None:
    """Every line of the log fails, also those of the journal writer that lost its connection: it goes on writing all
    the same."""
    data, log = disks
    async with lone(data.path, log.path) as server:
        conversation = await server.node.conversation()
        run_id = await server.node.send(conversation, script(pieces=[f"{n} " for n in range(100)], delay=0.03))
        log.fill()
        for _ in range(3):
            await asyncio.sleep(0.3)
            await server.cut_connections()
        run = await server.node.run(run_id, "completed", "failed", seconds_max=60)
        assert (run["status"], run["output"]) == ("completed", "".join(f"{n} " for n in range(100)))
        await server.ready(200)
        page = (await server.ask("GET", "/metrics")).text
        lost = next(line for line in page.splitlines() if line.startswith("stoa_log_lines_lost_total "))
        assert float(lost.split()[1]) > 0
        log.free()
        assert (await server.ask("GET", "/v1/orgs")).status_code == 200
        before = (log.path / "node.log").stat().st_size
        assert (await server.ask("GET", "/v1/projects")).status_code == 200
        async with asyncio.timeout(20):  # What is logged from now on is there again; a line comes after its answer.
            while (log.path / "node.log").stat().st_size <= before:
                await asyncio.sleep(0.05)
        await server.healthy()


@pytest.mark.parametrize("log_too", [False, True])
async def test_the_data_is_full(disks: tuple[Disk, Disk], log_too: bool) -> None:
    data, log = disks
    async with lone(data.path, log.path) as server:
        conversation = await server.node.conversation()
        long = await server.node.send(conversation, script(pieces=[f"{n} " * 400 for n in range(60)], delay=0.05))
        data.fill()
        if log_too:
            log.fill()
        statuses = await until_refused(server)
        assert statuses <= {202, 503}, "a message is taken, or refused as 503; never a 500"
        said = await server.ready(503, 20)
        assert said.json()["error"]["code"] == "unavailable"
        assert (await server.ask("GET", "/health")).status_code == 200
        data.free()
        log.free()
        await server.ready(200)
        run = await server.node.run(long, "completed", "failed", seconds_max=90)
        assert (run["status"], run["output"]) == ("completed", "".join(f"{n} " * 400 for n in range(60)))
        again = await server.node.conversation()
        assert (await server.node.run(await server.node.send(again, script(pieces=["Back."])), "completed"))[
            "output"
        ] == "Back."
        await server.healthy()


async def until_refused(server: Lone) -> set[int]:
    """Sends messages until one is refused; gives the statuses of the answers."""
    statuses: set[int] = set()
    listed = (await server.node.call("GET", "/v1/router/models"))["data"]
    body = {"model_id": next(model["id"] for model in listed if model["slug"] == "openai/scripted")}
    async with asyncio.timeout(60):
        while 503 not in statuses:
            with suppress(httpx.TransportError):
                made = await server.ask("POST", "/v1/conversations", json=body)
                statuses.add(202 if made.status_code == 201 else made.status_code)
                if made.status_code == 201:
                    path = f"/v3/conversations/{made.json()['data']['id']}/messages"
                    content = script(pieces=["word " * 2_000] * 5)
                    sent = await server.ask("POST", path, json={"content": content, "background": True})
                    statuses.add(sent.status_code)
    return statuses


async def test_no_promise_is_broken_by_a_full_disk(disks: tuple[Disk, Disk]) -> None:
    data, log = disks
    report = await campaign(
        data.path / "crash", faults=40, seed=20261130, fates=6, every=0.5, kinds=FULL, disks=(data, log), clients=4
    )
    assert set(FULL) <= set(report.faults)
    assert (report.lost, report.repeated) == (0, 0)
    assert not any(report.doctor.values())

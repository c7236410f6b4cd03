"""`stoa serve --workers 2` is one server: whoever of its processes dies, and however it is told to end."""

import asyncio
import contextlib
import hashlib
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.support.databases import Databases
from tests.support.listening import Listener
from tests.support.nodes import KEY, TERMINAL, Node, frames, script
from tests.support.processes import ENVIRONMENT, STOA, free_port, serve, url_of
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)


@dataclass
class Served:
    """The server of several workers: `node` speaks to it, through whichever takes the connection."""

    node: Node
    process: asyncio.subprocess.Process
    said: list[str]
    manager: socket.socket
    """What systemd would listen on."""

    def workers(self) -> dict[int, psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # It ends just now.
                if "stoa.cli.workers.child" in (line := child.cmdline()):
                    found[int(line[4])] = child
        return found

    def worker_of(self, port: int) -> psutil.Process:
        """The one that a client's connection from this port is at."""
        for worker in self.workers().values():
            if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
                return worker
        raise AssertionError("nobody has this connection")

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.node.log.read_text().splitlines() if line.startswith("{")]

    async def metrics(self) -> dict[str, float]:
        async with self.node.client() as http:
            text = (await http.get("/metrics")).raise_for_status().text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}


@asynccontextmanager
async def served(dsn: str, home: Path, upstream: ScriptedServer) -> AsyncGenerator[Served]:
    home.mkdir(exist_ok=True)
    node = Node("workers", dsn, home, upstream.url, home / "workers.log", port=free_port())
    config = home / "stoa.toml"
    config.touch()
    environment = {
        "STOA_WORKERS": "2",
        "STOA_BOOTSTRAP_KEY": KEY,
        "STOA_DATABASE_URL": dsn,
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": upstream.url,
        "OLLAMA_HOST": "http://127.0.0.1:9",
        "STOA_LOG_FORMAT": "json",
        "STOA_DEFAULT_MODEL": "openai/scripted",
        "STOA_CONNECTIONS_MAX": "6",
        "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
    }
    with node.log.open("wb") as log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0stoa-test-{uuid4().hex}" if sys.platform == "linux" else str(home / "manager"))
        manager.settimeout(10)
        environment["NOTIFY_SOCKET"] = _address(manager)
        async with serve(home, config=config, stderr=log, **environment) as (process, said):
            node.port = int(url_of(said).rsplit(":", 1)[1])
            yield Served(node, process, said, manager)


def _address(manager: socket.socket) -> str:
    name = manager.getsockname()
    return f"@{name[1:].decode()}" if isinstance(name, bytes) else str(name)


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, upstream: ScriptedServer) -> AsyncIterator[Served]:
    name = f"workers_{uuid4().hex}"
    async with served(await cluster.copy(name), room / name, upstream) as running:
        yield running


async def reached(condition: Callable[[], object], seconds_max: float = 40) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():
            await asyncio.sleep(0.02)


async def counted(server: Served, wanted: dict[str, float]) -> dict[str, float]:
    """The page, once it says this."""
    async with asyncio.timeout(40):
        while True:
            page = await server.metrics()
            if {name: page.get(name) for name in wanted} == wanted:
                return page
            await asyncio.sleep(0.05)


def route(path: str) -> str:
    return f'stoa_http_requests_total{{host="api",method="GET",route="{path}",status="200"}}'


async def test_it_says_once_that_it_is_ready_and_each_line_of_the_log_whose_it_is(server: Served) -> None:
    assert sum(line.startswith("Stoa is ready at ") for line in server.said) == 1
    assert server.manager.recv(64) == b"READY=1"
    assert sorted(server.workers()) == [1, 2]
    lines = server.log()
    assert {line["worker"] for line in lines if line["event"] == "models"} == {1, 2}
    assert all("worker" in line for line in lines)


async def test_one_page_counts_what_all_have_done(server: Served) -> None:
    ready = {'stoa_workers{state="ready"}': 2.0}  # A page for which one was too busy to answer lacks what it counts.
    before = (await counted(server, ready)).get(route("/health"), 0)
    async with asyncio.TaskGroup() as clients:
        answers = [clients.create_task(server.node.call("GET", "/health")) for _ in range(12)]
    assert [answer.result()["status"] for answer in answers] == ["ok"] * 12
    page = await counted(server, {route("/health"): before + 12, **ready, "stoa_nodes": 2})
    assert page["stoa_database_connections_max"] == 12, "of both"
    assert {'process_resident_memory_bytes{worker="1"}', 'process_resident_memory_bytes{worker="2"}'} <= set(page)
    assert page["stoa_database_up"] == 1


async def test_a_worker_is_killed_amid_a_stream(server: Served) -> None:
    """The client resumes at its sibling, which goes on with the run; the killed one is started again."""
    node, name = server.node, uuid4().hex
    conversation = await node.conversation()
    again = {"pieces": [f"B{n} " for n in range(20)], "delay": 0.02, "id": f"{name}-again"}
    body = {"content": script(pieces=[f"A{n} " for n in range(600)], delay=0.02, id=name, again=again)}
    before = await server.metrics()
    seen: list[dict[str, Any]] = []
    lines: list[str] = []
    run_id = ""
    async with node.client() as http:
        with pytest.raises(httpx.TransportError):
            path = f"/v3/conversations/{conversation}/messages"
            async with http.stream("POST", path, json=body) as response:
                run_id = response.headers["Stoa-Run-Id"]
                port = response.extensions["network_stream"].get_extra_info("client_addr")[1]
                async for event, line in frames(response):
                    seen.append(event)
                    lines.append(line)
                    if len(seen) == 5:
                        server.worker_of(port).kill()
    async with asyncio.timeout(40):
        while seen[-1]["type"] not in TERMINAL:
            async for event, line in node.follow(run_id, len(seen)):
                seen.append(event)
                lines.append(line)
    assert [event["sequence"] for event in seen] == list(range(1, len(seen) + 1))
    assert sum(event["type"] in TERMINAL for event in seen) == 1
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines[:-1]).encode()).hexdigest()
    assert seen[-1]["data"]["log"]["sha256"] == digest
    assert seen[-1]["data"]["output"] == "".join(f"B{n} " for n in range(20))
    assert (await node.run(run_id))["attempt"] == 2
    await reached(lambda: len(server.workers()) == 2)
    after = await counted(server, {'stoa_workers{state="ready"}': 2, 'stoa_worker_ends_total{how="signal"}': 1})
    fallen = {name for name, value in before.items() if name.endswith("_total") and after.get(name, 0) < value}
    assert {name for name in fallen if not name.startswith("process_")} == set()


async def test_a_worker_that_gets_sigterm_is_replaced_while_another_serves(server: Served) -> None:
    worker = server.workers()[1]
    worker.send_signal(signal.SIGTERM)
    statuses: list[int] = []

    async def ask() -> None:
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            async with server.node.client() as http:
                statuses.append((await http.get("/ready")).status_code)

    async with asyncio.timeout(40):
        await ask()
    await reached(lambda: len(server.workers()) == 2)
    await counted(server, {'stoa_workers{state="ready"}': 2, 'stoa_worker_ends_total{how="drained"}': 1})
    assert set(statuses) <= {200, 503}, "503 on connections alone that it had accepted before"
    await server.node.call("GET", "/ready")
    lines = [line["event"] for line in server.log() if line.get("worker") == 1]
    assert "worker has drained" in lines
    report = (await server.node.call("GET", "/v1/doctor"))["data"]
    assert [check for check in report["checks"] if check["count"]] == []


async def test_another_server_does_not_share_the_port(server: Served, tmp_path: Path) -> None:
    port, environment = server.node.port, {"STOA_DATABASE_URL": server.node.dsn, "STOA_WORKERS": "2"}
    config = tmp_path / "stoa.toml"
    config.touch()
    with pytest.raises(AssertionError, match="did not start"):
        async with serve(tmp_path / "other", config=config, port=port, **environment):
            pass


async def test_it_drains_as_one(server: Served) -> None:
    """An answer that is under way ends, for a client that resumes where its worker had no runs of its own and was done
    at once; nothing is left of any process. (The last test of this server.)"""
    workers = list(server.workers().values())
    conversation = await server.node.conversation()
    run_id = await server.node.send(conversation, script(pieces=[f"{n} " for n in range(40)], delay=0.02))
    seen: list[dict[str, Any]] = []

    async def follow() -> None:
        while not seen or seen[-1]["type"] not in TERMINAL:
            async for event, _ in server.node.follow(run_id, len(seen)):
                seen.append(event)

    following = asyncio.create_task(follow())
    await reached(lambda: len(seen) > 3)
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(40):
        assert await server.process.wait() == 0
        await following
    assert seen[-1]["type"] == "run.completed"
    assert server.manager.recv(64) == b"STOPPING=1"
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)


async def test_its_workers_do_not_outlive_it(dsn: str, tmp_path: Path, upstream: ScriptedServer) -> None:
    async with served(dsn, tmp_path / "data", upstream) as server:
        workers = list(server.workers().values())
        assert len(workers) == 2
        server.process.kill()
        await server.process.wait()
        await reached(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers), 10)
        with pytest.raises(
            (httpx.ConnectError, httpx.ReadError)
        ):  # Its last thread may reset what the kernel accepted.
            await server.node.call("GET", "/health")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_signal_amid_the_start_stops_it_in_good_order(tmp_path: Path, workers: str) -> None:
    """The first process of a container would ignore SIGTERM otherwise, and be killed half a minute later."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await gone.wait()
        writer.transport.abort()

    (config := tmp_path / "stoa.toml").touch()
    async with Listener(never_answers) as database:
        environment = {
            "STOA_DATABASE_URL": f"postgresql://stoa@127.0.0.1:{database.port}/stoa",
            "STOA_WORKERS": workers,
        }
        options = ["--port", "0", "--data-dir", str(tmp_path / "data"), "--config", str(config)]
        process = await asyncio.create_subprocess_exec(
            *STOA, "serve", *options, env={**ENVIRONMENT, **environment}, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(60):
                await asked.wait()
                children = psutil.Process(process.pid).children()
                process.send_signal(signal.SIGTERM)
                said, _ = await process.communicate()
        finally:
            gone.set()
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, said.decode().strip()) == (0, "Stopped before the server was ready.")
    assert len(children) == (2 if workers == "2" else 0)
    await reached(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children), 10)

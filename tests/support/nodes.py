"""Real nodes for tests: `stoa serve` in processes of their own on one database, which can be killed, frozen,
partitioned and drained.

A node is forked from a server that has loaded everything, so it starts quickly. `BlockableProxy` is a proxy to the
database; `ToolServer` records the calls of tools.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.support.forking import context
from tests.support.listening import close_listening

KEY = "stoa_acc_" + "n" * 64
START_SECONDS_MAX = 60.0
TERMINAL = ("run.completed", "run.failed", "run.canceled")

Start = Callable[..., "AbstractAsyncContextManager[list[Node]]"]


def serve(environment: dict[str, str], port: int, log: str, said: Connection) -> None:
    """The process: `stoa serve` to its end."""
    from stoa.cli.serve import run  # noqa: PLC0415 — loaded once, in the server that nodes are forked from
    from stoa.settings import load  # noqa: PLC0415

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    for name in [name for name in os.environ if name.startswith(("STOA_", "OPENAI_", "ANTHROPIC_", "OLLAMA_"))]:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if name.startswith("AWS_")})

    def tell(line: str) -> None:
        if line.startswith("Stoa is ready at "):
            said.send(int(line.split()[4].rsplit(":", 1)[1]))

    config = Path(f"{log}.toml")  # Empty: no stoa.toml of whoever runs the tests is read.
    config.touch()
    try:
        run(load(environment, {"port": port}, config), tell)
    except BaseException as error:
        said.send(f"{type(error).__name__}: {error}")
        raise


@dataclass
class Node:
    """One node. Its files lie in `data_dir`, which the nodes of one database share."""

    name: str
    dsn: str
    data_dir: Path
    model_url: str
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: Any = None
    up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        environment = {
            "STOA_BOOTSTRAP_KEY": KEY,
            "STOA_DATABASE_URL": self.dsn,
            "STOA_DATA_DIR": str(self.data_dir),
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": self.model_url,
            "OLLAMA_HOST": "http://127.0.0.1:9",
            "STOA_LOG_LEVEL": "info",
            "STOA_LOG_FORMAT": "json",
            "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
            "STOA_DEFAULT_MODEL": "openai/scripted",
            "STOA_CONNECTIONS_MAX": "8",
            **self.settings,
        }
        here, there = multiprocessing.Pipe()
        self.process = context().Process(target=serve, args=(environment, self.port, str(self.log), there), daemon=True)
        await asyncio.to_thread(self.process.start)
        there.close()
        if not await asyncio.to_thread(here.poll, START_SECONDS_MAX):
            raise AssertionError(f"{self.name} did not start")
        try:
            said = here.recv()
        except EOFError:
            said = "it died"
        assert isinstance(said, int), f"{self.name}: {said}"
        here.close()
        self.port = said
        self.up.set()
        return self

    def signal(self, sign: signal.Signals) -> None:
        os.kill(self.process.pid, sign)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    async def kill(self) -> None:
        self.up.clear()
        self.process.kill()
        await asyncio.to_thread(self.process.join)

    async def drain(self, seconds_max: float = 40.0) -> int:
        """SIGTERM; returns the exit code."""
        self.up.clear()
        self.signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.join, seconds_max)
        assert self.process.exitcode is not None, f"{self.name} does not drain"
        return int(self.process.exitcode)

    async def end(self) -> None:
        """Ends the node in any state."""
        if self.process is not None and self.process.is_alive():
            self.thaw()
            await self.kill()

    def client(self, seconds_max: float = 30) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=seconds_max, verify=False
        )

    async def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        async with self.client() as http:
            response = await http.request(method, path, **options)
        assert response.status_code == status, f"{self.name}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    async def conversation(self, **fields: Any) -> str:
        listed = (await self.call("GET", "/v1/router/models"))["data"]
        model_id = next(model["id"] for model in listed if model["slug"] == "openai/scripted")
        return str(
            (await self.call("POST", "/v1/conversations", 201, json={"model_id": model_id, **fields}))["data"]["id"]
        )

    async def send(self, conversation_id: str, text: str, **fields: Any) -> str:
        """Sends a message whose run continues in the background; returns the run's id."""
        body = {"content": text, "background": True, **fields}
        return str(
            (await self.call("POST", f"/v3/conversations/{conversation_id}/messages", 202, json=body))["data"]["id"]
        )

    async def run(self, run_id: str, *wanted: str, seconds_max: float = 30) -> Any:
        """The run, once its status is one of these."""
        async with asyncio.timeout(seconds_max):
            while True:
                run = (await self.call("GET", f"/v1/runs/{run_id}"))["data"]
                if not wanted or run["status"] in wanted:
                    return run
                await asyncio.sleep(0.02)

    async def events(self, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = await self.call("GET", f"/v1/runs/{run_id}/events?page_size=500&page={len(found) // 500 + 1}")
            found += page["data"]
            if len(found) >= page["pagination"]["total_count"]:
                return found

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[tuple[dict[str, Any], str]]:
        """Every event with the bytes of its `data:` line, until the stream ends or breaks."""
        query = {"after_sequence": after} if after else {}
        async with self.client() as http, http.stream("GET", f"/v1/runs/{run_id}/stream", params=query) as response:
            assert response.status_code == 200, await response.aread()
            async for event in frames(response):
                yield event


@asynccontextmanager
async def started(
    dsns: list[str], data_dir: Path, model_url: str, settings: dict[str, str] | None = None
) -> AsyncGenerator[list[Node]]:
    """A node for each dsn; the first makes the bootstrap key, the others find it."""
    data_dir.mkdir(exist_ok=True)
    nodes = [
        Node(f"node {place}", dsn, data_dir, model_url, data_dir / f"node-{place}.log", settings or {})
        for place, dsn in enumerate(dsns)
    ]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        yield nodes
    finally:
        for node in nodes:
            await node.end()


async def frames(response: httpx.Response) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Whole frames only, as every client must take them."""
    rest = ""
    async for chunk in response.aiter_text():
        *whole, rest = (rest + chunk).split("\n\n")
        for frame in whole:
            for line in frame.split("\n"):
                if line.startswith("data: "):
                    yield json.loads(line[6:]), line[6:]


def script(**fields: Any) -> str:
    """A message that contains the script of its answer."""
    return f"Go. [[script {json.dumps(fields)}]]"


def hidden(text: str) -> str:
    """A script within a script: found only once the outer one was read."""
    return text.replace("]]", "]\\u005d")


class BlockableProxy:
    """A TCP proxy to a database's unix socket: open, blocked (nothing passes, and nobody is notified), or cut
    (connections are reset)."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._database, self._user = parts.path, parts.username
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._open = asyncio.Event()
        self._open.set()

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return str(host), int(port)

    @property
    def dsn(self) -> str:
        return "postgresql://{}@{}:{}{}".format(self._user, *self.address, self._database)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await close_listening(self._server)
        self._closed = True
        self.open()
        self.cut()
        await asyncio.gather(*self._carrying)

    def block(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """Resets every connection; new ones are possible."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        further: asyncio.StreamWriter | None = None
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            await self._open.wait()
            if self._closed:
                return
            back, further = await asyncio.open_unix_connection(self._socket)
            self._writers.add(further)
            ways = [asyncio.create_task(self._carry(reader, further)), asyncio.create_task(self._carry(back, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._carrying.discard(task)
            for end in (writer, further):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await source.read(1 << 16):
                await self._open.wait()
                target.write(data)
                await target.drain()


@dataclass
class Made:
    """A call as the tool server saw it."""

    key: str
    arguments: dict[str, Any]
    at: float
    state: Literal["begun", "done", "aborted"] = "begun"
    ended_at: float = 0.0


class ToolServer:
    """An endpoint where every POST is an effect. The argument `wait` delays the answer by so many seconds."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self.made: list[Made] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await close_listening(self._server)
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)  # Each closes its connection.
        await asyncio.sleep(0)

    def tool(self, name: str, **fields: Any) -> dict[str, Any]:
        """The body of POST /v1/tools."""
        assert self._server is not None
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{name}"
        parameters = {"type": "object", "properties": {"n": {"type": "string"}, "wait": {"type": "number"}}}
        config = {"method": "POST", "url": url, "parameters": parameters}
        return {"name": name, "type": "http", "description": "Has an effect.", "config": config, **fields}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:] if line)
        }
        arguments = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
        made = Made(headers.get("idempotency-key", ""), arguments, time.monotonic())
        self.made.append(made)
        if arguments.get("wait"):
            gone = asyncio.create_task(reader.read(1))
            await asyncio.wait([gone], timeout=arguments["wait"])
            if gone.done():
                made.state, made.ended_at = "aborted", time.monotonic()
                return False
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        made.state, made.ended_at = "done", time.monotonic()
        content = f"Effect {len(self.made)} of {arguments.get('n', '')}.".encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)
        )
        await writer.drain()
        return True

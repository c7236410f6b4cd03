"""The campaign on `stoa serve --workers N` with its files in a bucket: workers and their parent are killed, frozen and
drained, the connection to the database is cut, and bucket requests fail."""

import asyncio
import contextlib
import random
import signal
import subprocess
from typing import Any, Final, Self

import psutil

from stoa.db.embedded import start_embedded
from stoa.settings import Settings
from tests.support.buckets import CREDENTIALS, BucketServer, Fault, bucket_server, credentials
from tests.support.crashes.campaign import Field
from tests.support.crashes.client import Client
from tests.support.nodes import KEY, BlockableProxy, Node
from tests.support.processes import ENVIRONMENT, STOA, free_port

WORKER_FATES: Final = {
    "worker_killed": 6,
    "worker_frozen": 2,
    "worker_drained": 3,
    "parent_killed": 2,
    "parent_drained": 2,
    "reset": 4,
    "partition": 2,
    "database": 1,
    "bucket_request": 8,
    "bucket_away": 3,
}
BUCKET_FAULTS: Final = ("500", "503", "before", "after", "body")
START_SECONDS_MAX: Final = 300.0
GONE_SECONDS_MAX: Final = 10.0
"""The kernel ends workers whose parent is gone; then the port is free."""
LARGE_BYTES: Final = 9 * 1024 * 1024
"""More than one part of a multipart upload."""


class FileClient(Client):
    """Uploads a file before some messages, and reads it back at the end: an acknowledged file is complete."""

    run_seconds_max = 600.0  # There is no other server while this one starts: on a busy machine that takes a minute.

    def __init__(self, number: int, field: Any, model_id: str, dice: random.Random) -> None:
        super().__init__(number, field, model_id, dice)
        self._files: dict[str, bytes] = {}

    async def live(self) -> None:
        await super().live()
        for file_id, content in self._files.items():
            assert await self._insist("GET", f"/v1/files/{file_id}/content") == content, "a file is not what was sent"

    async def _before(self, turn: int) -> None:
        if self._dice.random() < 0.5:
            return
        content = f"{self._number}.{turn} ".encode() * self._dice.choice([3, 3, 3, LARGE_BYTES // 6])
        name = f"{self._number}-{turn}.bin"
        path = f"/v1/conversations/{self._conversation_id}/files"
        made = await self._insist("POST", path, files={"file": (name, content)})
        self._files[made["data"]["id"]] = content
        if self._dice.random() < 0.3:
            file_id = self._dice.choice(list(self._files))
            assert await self._insist("GET", f"/v1/files/{file_id}/content") == self._files[file_id]


class ServerOfWorkers(Node):
    """`stoa serve --workers N`. Its process is the parent."""

    async def start(self) -> Self:
        self.port = self.port or free_port()
        self.data_dir.mkdir(exist_ok=True)
        config = self.data_dir.with_suffix(".toml")
        config.touch()
        environment = {
            "STOA_BOOTSTRAP_KEY": KEY,
            "STOA_DATABASE_URL": self.dsn,
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": self.model_url,
            "OLLAMA_HOST": "http://127.0.0.1:9",
            "STOA_LOG_FORMAT": "json",
            "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
            "STOA_DEFAULT_MODEL": "openai/scripted",
            "STOA_CONNECTIONS_MAX": "6",
            **self.settings,
        }
        options = ["--port", str(self.port), "--data-dir", str(self.data_dir), "--config", str(config)]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *STOA, "serve", *options, env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=log
            )
        async with asyncio.timeout(START_SECONDS_MAX):
            while line := await self.process.stdout.readline():
                if line.startswith(b"curl -sN"):
                    self.up.set()
                    return self
        raise AssertionError(f"the server did not start; {self.log} says why")

    def workers(self) -> list[psutil.Process]:
        """The processes of the workers that live just now."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):  # It has just ended.
                    if "stoa.cli.workers.child" in child.cmdline():
                        found.append(child)
        return found

    async def kill(self) -> None:
        """The parent, and nobody else."""
        self.up.clear()
        left = self.workers()
        self.process.kill()
        await self.process.wait()
        async with asyncio.timeout(GONE_SECONDS_MAX):
            while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left):
                await asyncio.sleep(0.02)

    async def drain(self, seconds_max: float = 60.0) -> int:
        self.up.clear()
        left = self.workers()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(seconds_max):
            code: int = await self.process.wait()
        assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left)
        return code

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.kill()


class WorkersField(Field):
    kind_of_client = FileClient

    workers_count = 2

    async def _open_database(self) -> list[str]:
        self.bucket: BucketServer = self._stack.enter_context(bucket_server())
        self._stack.enter_context(credentials())  # For the doctor.
        self._embedded = await start_embedded(self.home)
        self._stack.push_async_callback(self._embedded.stop)
        watch = asyncio.create_task(self._embedded.watch(0.2))
        self._stack.callback(watch.cancel)
        way = await self._stack.enter_async_context(BlockableProxy(self._embedded.dsn))
        self.ways = [way]
        return [way.dsn]

    def _new_node(self, place: int, dsn: str) -> Node:
        settings = {
            "STOA_WORKERS": str(self.workers_count),
            "STOA_DRAIN_SECONDS_MAX": "1",
            "STOA_LOG_LEVEL": "info",
            "STOA_BLOBS": "s3://files/stoa",
            "STOA_BLOBS_ENDPOINT": self.bucket.url,
            **CREDENTIALS,
        }
        log = self.home.parent / f"{self.home.name}-workers.log"
        return ServerOfWorkers("workers", dsn, self.home.with_name("server"), self.model.url, log, settings)

    def _settings(self) -> Settings:
        return Settings(data_dir=self.home, blobs="s3://files/stoa", blobs_endpoint=self.bucket.url)

    @property
    def _server(self) -> ServerOfWorkers:
        (server,) = self.nodes
        assert isinstance(server, ServerOfWorkers)
        return server

    async def _one(self) -> psutil.Process:
        async with asyncio.timeout(START_SECONDS_MAX):
            while not (workers := self._server.workers()):
                await asyncio.sleep(0.02)
        return self.dice.choice(workers)

    def _way(self) -> tuple[Node, BlockableProxy]:
        (way,) = self.ways
        assert way is not None
        return self._server, way

    # --- faults -----------------------------------------------------------------------------------------------------
    async def _worker_killed(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            (await self._one()).kill()
        self._mark("kill")

    async def _worker_frozen(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = await self._one()
            worker.suspend()
            self._mark("freeze")
            await asyncio.sleep(self.dice.uniform(4.5, 7))
            worker.resume()

    async def _worker_drained(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            (await self._one()).terminate()

    async def _parent_killed(self) -> None:
        await self._server.kill()
        self._mark("kill")
        await self._start(self._server)

    async def _parent_drained(self) -> None:
        assert await self._server.drain() == 0, "the server did not leave in good order"
        await self._start(self._server)

    async def _partition(self) -> None:
        _, way = self._way()
        way.block()
        await asyncio.sleep(self.dice.uniform(0.5, 3))
        way.open()
        if self.dice.random() < 0.5:
            way.cut()
        assert self._server.process.returncode is None, "the server ended because it was cut off"

    async def _bucket_request(self) -> None:
        """The next request, or one soon after it, fails."""
        kind = self.dice.choice(BUCKET_FAULTS)
        self.bucket.reset({self.dice.randint(0, 2): Fault(kind)})

    async def _bucket_away(self) -> None:
        self.bucket.reset({0: Fault(self.dice.choice(["500", "503", "before"]), forever=True)})
        await asyncio.sleep(self.dice.uniform(0.5, 3))
        self.bucket.reset()

"""A whole installation for campaigns: `stoa serve` with its embedded database, one data directory, one port."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.support.forking import Command

KEY = "stoa_acc_" + "c" * 64
START_SECONDS_MAX = 60.0


class Server:
    """A real `stoa serve` on one data directory and one port, that can be killed and started again."""

    def __init__(self, home: Path, model_url: str, *, config: Path | None = None, **environment: str) -> None:
        self._arguments = () if config is None else ("--config", str(config))
        self._home = home
        self._model_url = model_url
        self._environment = environment
        self._process: Command | None = None
        self._port = 0
        self.up = asyncio.Event()
        self.killed_at = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        environment = {
            **os.environ,
            "STOA_BOOTSTRAP_KEY": KEY,
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": self._model_url,
            "STOA_LOG_LEVEL": "warning",
            "OLLAMA_HOST": "http://127.0.0.1:9",
            "STOA_DRAIN_SECONDS_MAX": "0",
            **self._environment,
        }
        environment.pop("ANTHROPIC_API_KEY", None)
        with (self._home.parent / f"{self._home.name}.log").open("ab") as log:
            arguments = ["serve", "--port", str(self._port), "--data-dir", str(self._home), *self._arguments]
            self._process = await Command.start(arguments, environment=environment, stderr=log)
        async with asyncio.timeout(START_SECONDS_MAX):
            while line := (await self._process.stdout.readline()).decode():
                if line.startswith("Stoa is ready at "):
                    self._port = int(line.split()[4].rsplit(":", 1)[1])
                    self.up.set()
                    return
        raise AssertionError("the server did not start")

    async def kill(self, *, database: bool) -> None:
        """`kill -9`, the database's postmaster too if asked, then the same command again."""
        assert self._process is not None
        self.up.clear()
        if database:
            pid = next(self._home.rglob("postmaster.pid")).read_text().splitlines()[0]
            os.kill(int(pid), signal.SIGKILL)
        self._process.kill()
        await self._process.wait()
        self.killed_at = time.monotonic()
        await self.start()

    def seconds_since_kill(self) -> float:
        return time.monotonic() - self.killed_at

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        await self._process.wait()

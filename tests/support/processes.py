"""`stoa serve` in a process of its own: forked from one that has loaded it, or the real command."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import psutil

from tests.support.forking import Command

KEY = "stoa_acc_" + "e" * 64
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("STOA_", "OPENAI_", "ANTHROPIC_", "OLLAMA_"))
}
STOA = [sys.executable, "-m", "stoa"]


@asynccontextmanager
async def serve(
    home: Path,
    *,
    config: Path | None = None,
    port: int = 0,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    typed: bool = False,
    **environment: str,
) -> AsyncIterator[tuple[asyncio.subprocess.Process | Command, list[str]]]:
    """`stoa serve` on a free port, or on this one; yields its process and its output up to the last curl line.

    `typed`: the real command, instead of a fork of a process that has loaded it.
    """
    arguments = ["serve", "--port", str(port), "--data-dir", str(home), *(("--config", str(config)) if config else ())]
    process: asyncio.subprocess.Process | Command
    if typed:
        process = await asyncio.create_subprocess_exec(
            *STOA, *arguments, env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=stderr
        )
    else:
        process = await Command.start(arguments, environment={**ENVIRONMENT, **environment}, stderr=stderr)
    said: list[str] = []
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while line := (await process.stdout.readline()).decode():
                said.append(line.rstrip("\n"))
                if line.startswith("curl -sN"):
                    break
        assert said, "the server did not start"
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        stop_database(home)


def stop_database(home: Path) -> None:
    """A killed server leaves its PostgreSQL for the next start; stops it after a test."""
    record = home / "postgres" / "cluster" / "postmaster.pid"
    with contextlib.suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
        postmaster = psutil.Process(int(record.read_text().split()[0]))
        if Path(postmaster.cwd()).is_relative_to(home.resolve()):
            postmaster.send_signal(signal.SIGQUIT)
            postmaster.wait(timeout=20)


def url_of(said: list[str]) -> str:
    return next(line.split()[4] for line in said if line.startswith("Stoa is ready at "))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

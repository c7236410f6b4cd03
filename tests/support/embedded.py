"""Shared by tests of the embedded database: directories that any account may enter, and information about processes."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

WAIT_SECONDS_MAX = 30.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes users or mounts a file system")


def quick_disk() -> Path | None:
    """A directory in memory, if there is enough: an initdb writes 39 MB and waits for the disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 1e9 or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return None
    return memory


def open_room() -> Iterator[Path]:
    """An empty directory that any account may enter (pytest's own are private); checks that no process is left in
    it."""
    path = Path(tempfile.mkdtemp(prefix="stoa-test-", dir=quick_disk())).resolve()
    path.chmod(0o755)
    yield path
    for pid_file in path.rglob("postmaster.pid"):
        with contextlib.suppress(ValueError, IndexError, ProcessLookupError, FileNotFoundError):
            pid = int(pid_file.read_text().splitlines()[0])
            if process_name(pid) == "postgres":
                os.kill(pid, signal.SIGQUIT)
                wait_for(lambda pid=pid: process_name(pid) != "postgres")
    shutil.rmtree(path)


def process_name(pid: int) -> str:
    """The program of a living process; empty for none or a zombie."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


async def ask(dsn: str, statement: str) -> Any:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()

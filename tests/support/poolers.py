"""PgBouncer, with a configuration of the guide or another one."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from stoa.db.embedded.account import choose_account
from tests.support.processes import free_port

PROGRAM = "pgbouncer"


class Pooler:
    """PgBouncer with a configuration; it can be killed and started again at the same port. Skips without PgBouncer."""

    def __init__(self, home: Path, text: str, **changes: str) -> None:
        program = shutil.which(PROGRAM, path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            assert not os.environ.get("CI"), "CI must have pgbouncer"
            pytest.skip("pgbouncer is not on this machine")
        self._program, self._account, self.port = program, choose_account(None, None), free_port()
        self._home = home
        home.mkdir(mode=0o755)
        self._account.give(home)
        changes = {"listen_port": str(self.port), "unix_socket_dir": "", **changes}
        for name, value in changes.items():
            text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
            text += "" if found else f"{name} = {value}\n"
        (home / "pgbouncer.ini").write_text(text)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._home / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                "-q",
                str(self._home / "pgbouncer.ini"),
                stdout=log,
                stderr=log,
                cwd="/",
                **self._account.as_account(),
            )
        await _until_it_listens(self._process, self.port, self._home / "log")

    async def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def pooler(home: Path, text: str, **changes: str) -> AsyncGenerator[str]:
    """PgBouncer with this configuration and these settings changed; gives `127.0.0.1:port`. Skips without PgBouncer."""
    made = Pooler(home, text, **changes)
    try:
        await made.start()
        yield f"127.0.0.1:{made.port}"
    finally:
        await made.kill()


async def _until_it_listens(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, log.read_text()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)


async def execute(dsn: str, *statements: str) -> None:
    """One after the other, over one connection."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()

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


@asynccontextmanager
async def pooler(home: Path, text: str, **changes: str) -> AsyncGenerator[str]:
    """PgBouncer with this configuration and these settings changed; gives `127.0.0.1:port`. Skips without PgBouncer."""
    program = shutil.which(PROGRAM, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "CI must have pgbouncer"
        pytest.skip("pgbouncer is not on this machine")
    account, port = choose_account(None, None), free_port()
    home.mkdir(mode=0o755)
    account.give(home)
    changes = {"listen_port": str(port), "unix_socket_dir": "", **changes}
    for name, value in changes.items():
        text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        text += "" if found else f"{name} = {value}\n"
    configuration = home / "pgbouncer.ini"
    configuration.write_text(text)
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "-q", str(configuration), stdout=log, stderr=log, cwd="/", **account.as_account()
        )
    try:
        await _until_it_listens(process, port, home / "log")
        yield f"127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


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

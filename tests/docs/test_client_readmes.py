"""The quick starts of the client libraries run as they stand, against a server."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.javascript import node_command
from tests.support.pages import ROOT, blocks
from tests.support.processes import KEY, serve, url_of

PYTHON, JAVASCRIPT = ROOT / "clients" / "python", ROOT / "clients" / "javascript"


async def printed(command: list[str], url: str, home: Path) -> str:
    environment = {**os.environ, "STOA_URL": url, "STOA_KEY": KEY, "PYTHONPATH": str(PYTHON / "src")}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), out.decode())
    return out.decode()


@pytest.mark.timeout(150)
async def test_the_quick_starts_run(room: Path) -> None:
    home = room / "readmes"
    (home / "node_modules").mkdir(parents=True)
    (home / "node_modules" / "stoa-client").symlink_to(JAVASCRIPT)
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        url = url_of(said)
        first, asynchronous, knowledge = blocks(PYTHON / "README.md", "python")
        out = await printed([sys.executable, "-c", first], url, home)
        assert "30 days of leave" in out
        assert "verified: True\ndeleted and verified: True\n" in out
        assert "verified: True" in await printed([sys.executable, "-c", asynchronous], url, home)
        out = await printed([sys.executable, "-c", knowledge], url, home)
        assert "leave.md processed" in out
        assert "30 days of leave" in out

        command = node_command()
        first, knowledge = blocks(JAVASCRIPT / "README.md", "javascript")
        (home / "first.mjs").write_text(first, "utf-8")
        (home / "knowledge.mjs").write_text(knowledge.replace('"handbook"', '"handbook of node"'), "utf-8")
        out = await printed([command, "first.mjs"], url, home)
        assert "30 days of leave" in out
        assert "verified: true\ndeleted and verified: true\n" in out
        out = await printed([command, "knowledge.mjs"], url, home)
        assert "leave.md processed" in out
        assert "30 days of leave" in out

"""Runs a guide's shell blocks, unchanged, in a shell beside a server."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, shell_of


def need_curl() -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")


async def pasted(page: str, home: Path, *changes: tuple[str, str, int], **environment: str) -> str:
    """What the page's shell prints in `home`, after replacing placeholders: (written, replacement, count)."""
    shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide" / page, "sh"))
    for written, meant, times in changes:
        assert shell.count(written) == times, written
        shell = shell.replace(written, meant)
    process = await asyncio.create_subprocess_exec(
        *shell_of(page),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
            **environment,
        },
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate(shell.encode())
    assert (process.returncode, errors) == (0, b""), (errors.decode(), out.decode())
    return out.decode()

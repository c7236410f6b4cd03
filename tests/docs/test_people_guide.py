"""The guide of people: its shell as it stands."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, shell_of
from tests.support.processes import KEY, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    home = room / "people-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/people.md", "sh"))
        assert shell.count("http://localhost:8080") == 1
        process = await asyncio.create_subprocess_exec(
            *shell_of("people.md"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "STOA_DATA_DIR": str(home / "data"),
                "COLUMNS": "200",
            },
        )
        async with asyncio.timeout(60):
            out, errors = await process.communicate(shell.replace("http://localhost:8080", url_of(said)).encode())
    printed = out.decode()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), printed)
    assert '"error"' not in printed
    assert "ada@example.com is owner of the organization" in printed
    assert '"email":"ada@example.com","first_name":"Ada"' in printed
    assert '"user":{"id"' in printed
    assert printed.count("stoa_pat_") == 3, "Bob's first token; the notebook's, and its preview"
    assert '"role":"member"' in printed

"""The guide of workflows and apps: its shell as it stands."""

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
    home = room / "apps-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/apps.md", "sh"))
        for written, meant in (("stoa_acc_…", KEY), ("http://localhost:8080", url_of(said))):
            assert shell.count(written) == 1, written
            shell = shell.replace(written, meant)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *shell_of("apps.md"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**os.environ, "PATH": path},
        )
        async with asyncio.timeout(60):
            out, errors = await process.communicate(shell.encode())
    printed = out.decode()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), printed)
    assert '"error"' not in printed
    assert printed.count('"status":"completed"') >= 4
    assert "event: run.completed" in printed
    assert '"access_type":"public"' in printed
    assert printed.rstrip().endswith('{"message":"deleted"}')

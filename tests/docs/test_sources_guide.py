"""The guide of sources: its shell as it stands, with a site and a directory on this machine in place of those it
names."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, shell_of
from tests.support.processes import KEY, free_port, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    home = room / "sources-guide"
    home.mkdir()
    settings = {
        "STOA_BOOTSTRAP_KEY": KEY,
        "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
        "STOA_SOURCE_DIRECTORIES": f"/nowhere{os.pathsep}{home / 'policies'}",
    }
    async with serve(home / "data", **settings) as (_, said):
        shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/sources.md", "sh"))
        for written, meant, times in (
            ("stoa_acc_…", KEY, 1),
            ("http://localhost:8080", url_of(said), 1),
            ("8090", str(free_port()), 3),
        ):
            assert shell.count(written) == times, written
            shell = shell.replace(written, meant)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *shell_of("sources.md"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**os.environ, "PATH": path, "COLUMNS": "200"},
        )
        async with asyncio.timeout(60):
            out, errors = await process.communicate(shell.encode())
    printed = out.decode()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), printed)
    assert '"error"' not in printed
    assert printed.count('"status":"completed"') >= 1
    assert '"added":2' in printed
    assert '/install.html"' in printed
    assert "blog/news" not in (home / "site.log").read_text()
    assert '"metadata":{"team":"sales"}' in printed
    assert "A hotel may cost 140 euros a night." in printed
    assert "More policies: completed: added 1" in printed
    assert "More policies: completed: unchanged 1" in printed
    assert "config.include" in printed
    assert '{"message":"deleted"}' in printed
    assert '"deletion_id"' in printed
    assert json.loads(printed[printed.rindex("{") :])["message"] == "deleted"

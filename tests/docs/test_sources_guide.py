"""The guide of sources: its shell as it stands, with a site and a directory on this machine in place of those it names."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.origins import site
from tests.support.pages import ROOT, blocks
from tests.support.processes import KEY, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    policies = room / "policies"
    (policies / "travel").mkdir(parents=True)
    (policies / "travel" / "hotels.md").write_text("A hotel may cost 140 euros a night.")
    settings = {
        "STOA_BOOTSTRAP_KEY": KEY,
        "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
        "STOA_SOURCE_DIRECTORIES": f"/nowhere{os.pathsep}{policies}",
    }
    async with site() as made, serve(room / "sources-guide", **settings) as (_, said):
        made.page("/", "/install", "/blog/news")
        made.page("/install", text="Install it with one command.")
        shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/sources.md", "sh"))
        for written, meant, times in (
            ("stoa_acc_…", KEY, 1),
            ("http://localhost:8080", url_of(said), 1),
            ("https://docs.example.com/", made.url + "/", 2),
            ("/srv/policies", str(policies), 2),
        ):
            assert shell.count(written) == times, written
            shell = shell.replace(written, meant)
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "STOA_URL": url_of(said),
            "COLUMNS": "200",
        }
        process = await asyncio.create_subprocess_exec(
            "sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        async with asyncio.timeout(60):
            out, errors = await process.communicate(shell.encode())
    printed = out.decode()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), printed)
    assert '"error"' not in printed
    assert printed.count('"status":"completed"') >= 1
    assert '"added":2' in printed
    assert f'"url":"{made.url}/install"' in printed
    assert "/blog/news" not in [path for path, _, _ in made.asked]
    assert '"metadata":{"team":"sales"}' in printed
    assert "A hotel may cost 140 euros a night." in printed
    assert "More policies: completed: added 1" in printed
    assert "More policies: completed: unchanged 1" in printed
    assert "config.include" in printed
    assert '{"message":"deleted"}' in printed
    assert '"deletion_id"' in printed
    assert json.loads(printed[printed.rindex("{") :])["message"] == "deleted"

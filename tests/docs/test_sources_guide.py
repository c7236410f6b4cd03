"""The guide of sources: its shell as it stands, with a site and a directory on this machine in place of those it
names."""

import json
import os
from pathlib import Path

import pytest

from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, free_port, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "sources-guide"
    home.mkdir()
    settings = {
        "STOA_BOOTSTRAP_KEY": KEY,
        "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
        "STOA_SOURCE_DIRECTORIES": f"/nowhere{os.pathsep}{home / 'policies'}",
    }
    async with serve(home / "data", **settings) as (_, said):
        printed = await pasted(
            "sources.md",
            home,
            ("stoa_acc_…", KEY, 1),
            ("http://localhost:8080", url_of(said), 1),
            ("8090", str(free_port()), 3),
        )
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

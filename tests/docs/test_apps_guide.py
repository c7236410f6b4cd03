"""The guide of workflows and apps: its shell as it stands."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stoa.callbacks import rules
from tests.support.pages import ROOT, blocks
from tests.support.processes import KEY, serve, url_of


def test_the_guide_s_receiver_checks_signatures() -> None:
    (block,) = blocks(ROOT / "docs/guide/apps.md", "python")
    names: dict[str, Any] = {}
    exec(block, names)  # As a reader would paste it.
    verify, now, body = names["verify"], int(time.time()), b'{"type": "run.completed"}'
    old, new = (rules.new_secret(bytes([number] * rules.SECRET_BYTES)) for number in (1, 2))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": rules.signatures([new, old], "msg_1", now, body),
    }
    for secret in (old, new):
        verify(secret, headers, body)
    for wrong, sent in (({"webhook-id": "msg_2"}, body), ({"webhook-timestamp": str(now - 301)}, body), ({}, b"{}")):
        with pytest.raises(ValueError, match=r"signed|old"):
            verify(new, {**headers, **wrong}, sent)


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
            "sh",
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
    assert not [line for line in printed.splitlines() if line.startswith('{"error"')]
    assert printed.count('"status":"completed"') >= 4
    assert "event: run.completed" in printed
    assert '"access_type":"public"' in printed
    assert '"path":"agent.instructions"' in printed
    assert '"step":"answer"' in printed
    assert '"status":"incomplete"' in printed
    assert '"status":"complete","unsatisfied":[]' in printed
    assert "whsec_" in printed
    assert printed.rstrip().endswith('{"message":"deleted"}')

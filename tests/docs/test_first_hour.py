"""The first hour as it stands: its shell, the link of the first start, the app's own address. Installing a wheel is
what tests/e2e/test_wheel.py does."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.pages import ROOT, blocks
from tests.support.processes import free_port, serve, url_of
from tests.support.scripted_model import ScriptedServer

PAY = '[[script {"pieces": [], "tool": {"name": "pay", "arguments": "{\\"person\\": \\"Ada\\", \\"amount\\": 10}"}}]]'
PAID = '[[script {"pieces": ["Ada ", "has ", "her money."]}]]'


@pytest.mark.timeout(150)
async def test_the_first_hour(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    home, port = room / "first-hour", str(free_port())
    home.mkdir()
    shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/first-hour.md", "sh"))
    async with ScriptedServer() as model:
        allowed = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": model.url, "STOA_ALLOW_PRIVATE_ADDRESSES": "true"}
        async with serve(home / "data", **allowed) as (_, said):
            await _signed_in_by_the_link(said)
            key = re.search(r"stoa_acc_\w{64}", "\n".join(said))
            assert key is not None
            for written, meant, times in (
                ("stoa_acc_…", key[0], 1),
                ("http://localhost:8080", url_of(said), 1),
                ("8090", port, 2),
                ("openai/gpt-5-mini", "openai/scripted", 1),
                ('"Pay Ada 10 euros."', json.dumps(PAY).replace("$", "\\$"), 1),
                ('b"Paid."', f"b{PAID!r}", 1),
                ('"Content-Length", "5"', f'"Content-Length", "{len(PAID)}"', 1),
                ('stoa ask "What can', 'stoa ask --model stoa-extractive "What can', 1),
                ('stoa ask "What may', 'stoa ask --model stoa-extractive "What may', 1),
            ):
                assert shell.count(written) == times, written
                shell = shell.replace(written, meant)
            process = await asyncio.create_subprocess_exec(
                "sh",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=home,
                env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            )
            async with asyncio.timeout(120):
                out, errors = await process.communicate(shell.encode())
    printed, complained = out.decode(), errors.decode()
    assert process.returncode == 0, (complained, printed)
    assert "I answer by quoting documents" in printed
    assert "processed 1, failed 0" in printed
    assert "In London it may cost 190 euros" in printed
    assert [printed.count(f"created  {kind}") for kind in ("tool", "app")] == [1, 1]
    assert "it waits for you" in printed
    assert "waits for a person" in complained
    assert "waits for an answer" in printed
    assert "Ada has her money." in printed
    assert '"status":"completed"' in printed, "the app's own address"
    assert "0 to create, 0 to change, 2 as they are" in printed
    assert json.loads((home / "payments.log").read_text().partition(" ")[2]) == {"amount": 10}


async def _signed_in_by_the_link(said: list[str]) -> None:
    """What the browser does with it: the part after # goes to the server in a form, once."""
    link = next(line.strip() for line in said if "/console/sign-in#" in line)
    place, _, ticket = link.partition("#")
    async with httpx.AsyncClient(headers={"Origin": url_of(said), "Accept": "text/html"}) as browser:
        assert (await browser.get(place)).status_code == 200
        entered = await browser.post(place, data={"link": ticket, "key": "", "next": "/"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        chat = await browser.get(url_of(said) + "/")
        assert chat.status_code == 200
        assert 'class="chat"' in chat.text or "composer" in chat.text
        again = await browser.post(place, data={"link": ticket, "key": "", "next": "/"})
        assert again.status_code == 401

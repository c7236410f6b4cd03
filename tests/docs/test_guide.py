"""The guide's shell runs as it stands. The model is the scripted one: what it says is scripted in the question and in the service's answer."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks
from tests.support.processes import KEY, serve, url_of
from tests.support.scripted_model import ScriptedServer
from tests.support.services import Service

BAD = ROOT / "tests/support/bad_mcp.py"
SCRIPT = '[[script {"pieces": [], "tool": {"name": "pay", "arguments": "{\\\\"person\\\\": \\\\"Ada\\\\", \\\\"amount\\\\": 10}"}}]]'


class Payments(Service):
    """Answers with what the model says next: the last script that it reads is the one it follows."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0] or 0)
        self.asked.append(
            (
                head.split(" HTTP")[0],
                {"authorization": head.partition("Authorization: ")[2].split("\r\n")[0]},
                await reader.readexactly(length),
            )
        )
        text = b'[[script {"pieces": ["Ada ", "has ", "her money."]}]]'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(text), text))
        await writer.drain()
        writer.close()


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    payments = Payments()
    listening = await asyncio.start_server(payments.serve, "127.0.0.1", 0)
    service = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with ScriptedServer() as model:
        settings = {
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": model.url,
            "STOA_BOOTSTRAP_KEY": KEY,
            "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
        }
        config = room / "guide.toml"  # The page's own, with a program that is there.
        (declared,) = blocks(ROOT / "docs/guide/agents.md", "toml")
        for written, meant in (
            ('"files-mcp"', json.dumps(sys.executable)),
            ('"--read-only", "/srv/shared"', json.dumps(["-S", "-E", str(BAD), "good", str(room / "files")])[1:-1]),
            ('projects = ["6d1f0a52-…"]', ""),
        ):
            assert declared.count(written) == 1, written
            declared = declared.replace(written, meant)
        config.write_text(declared)
        async with serve(room / "guide", config=config, **settings) as (_, said):
            shell = "set -eu\n" + "\n".join(blocks(ROOT / "docs/guide/agents.md", "sh"))
            for written, meant in (
                ("stoa_acc_…", KEY),
                ("http://localhost:8080", url_of(said)),
                ("https://api.example.com", service),
                ("https://ledger.example.com", service),
                ('"Pay Ada 10 euros."', json.dumps(SCRIPT.replace("\\\\", "\\"))),
            ):
                assert shell.count(written) == 1, written
                shell = shell.replace(written, meant)
            process = await asyncio.create_subprocess_exec(
                "sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            async with asyncio.timeout(60):
                out, errors = await process.communicate(shell.encode())
    listening.close()
    printed = out.decode()
    assert (process.returncode, errors) == (0, b""), (errors.decode(), printed)
    assert [(line, json.loads(body or b"{}")) for line, _, body in payments.asked] == [
        ("GET /people/Ada", {}),
        ("POST /payments/Ada", {"amount": 7}),
    ]
    assert [headers["authorization"] for _, headers, _ in payments.asked] == ["Bearer s3cr3t"] * 2
    assert "The service wants token" in printed
    assert '"name":"files__touch"' in printed
    assert '"result":"[[script' in printed
    assert '{"message":"ok"}' in printed
    for event in (
        "approval_request.created",
        "run.paused",
        "run.resumed",
        "agent.tool_call.completed",
        "run.completed",
    ):
        assert f"event: {event}" in printed, event
    assert '"output":"Ada has her money."' in printed
    assert '"status":"completed","times":1' in printed
    assert "s3cr3t" not in printed

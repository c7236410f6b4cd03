"""The guide's shell runs as it stands. The model is the scripted one: what it says is scripted in the question and in
the service's answer."""

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
from tests.support.scripted_model import ScriptedServer

SCRIPT = (
    '[[script {"pieces": [], "tool": {"name": "pay", '
    '"arguments": "{\\\\"person\\\\": \\\\"Ada\\\\", \\\\"amount\\\\": 10}"}}]]'
)
SAID = """'[[script {"pieces": ["Ada ", "has ", "her money."]}]]'"""
"""What the service answers is what the model reads last, so it scripts the answer."""


async def pasted(shell: str, home: Path) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *shell_of("agents.md"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=home
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate(f"set -eu\n{shell}".encode())
    assert process.returncode == 0, (errors.decode(), out.decode())
    return out.decode(), errors.decode()


def filled(shell: str, *changes: tuple[str, str, int]) -> str:
    """The page's shell, with what a reader replaces: (what is written, what is meant, how often)."""
    for written, meant, times in changes:
        assert shell.count(written) == times, written
        shell = shell.replace(written, meant)
    return shell


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    home, port = room / "guide", str(free_port())
    home.mkdir()
    prepare, *rest = blocks(ROOT / "docs/guide/agents.md", "sh")
    files, starting = prepare.split("python3 payments.py", 1)
    await pasted(
        filled(
            files,
            ("8090", port, 1),
            ('"Paid."', SAID, 1),
            ('".venv/bin/python"', json.dumps(sys.executable), 1),
            ('["files_mcp.py"]', json.dumps([str(home / "files_mcp.py")]), 1),
        ),
        home,
    )
    async with ScriptedServer() as model:
        settings = {
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": model.url,
            "STOA_BOOTSTRAP_KEY": KEY,
            "STOA_ALLOW_PRIVATE_ADDRESSES": "true",
        }
        async with serve(home / "data", config=home / "stoa.toml", **settings) as (_, said):
            shell = filled(
                "\n".join(rest),
                ("stoa_acc_…", KEY, 1),
                ("http://localhost:8080", url_of(said), 1),
                ("127.0.0.1:8090", f"127.0.0.1:{port}", 2),
                ('"Pay Ada 10 euros."', json.dumps(SCRIPT.replace("\\\\", "\\")), 1),
            )
            # Starting the server gives a reader's service the time that it needs; here nothing is between.
            listens = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port})).close()'"
            waiting = f"until {listens} 2> /dev/null; do sleep 0.1; done"
            printed, errors = await pasted(f"python3 payments.py{starting}\n{waiting}\n{shell}", home)
    assert errors == ""
    asked = [line.split(" ", 4) for line in (home / "payments.log").read_text().splitlines()]
    assert [(method, path, f"{kind} {secret}") for method, path, kind, secret, _ in asked] == [
        ("GET", "/people/Ada", "Bearer s3cr3t"),
        ("POST", "/payments/Ada", "Bearer s3cr3t"),
    ]
    assert json.loads(asked[1][4]) == {"amount": 7}
    assert "The service wants token" in printed
    assert '"name":"files__read"' in printed
    assert "Ada is owed 10 euros." in printed
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
    assert "s3cr3t" not in printed.rpartition("GET /people/Ada")[0], "only the service's own log shows it"

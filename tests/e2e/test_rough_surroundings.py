"""The command where terminals, locales, pipes and networks are not as one would wish."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import FIRST_KEY, Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.processes import ENVIRONMENT, STOA
from tests.support.screen import shown

WORDS = "Grüße 🌍 漢字 „quoted“ \x1b]0;owned\x07\x1b[2J done"


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"rough_{uuid4().hex}"
    async with serving(await cluster.copy(name), room / name, ScriptedModel([answer(WORDS)])) as found:
        yield found


async def run(
    server: Running, *arguments: str, said: bytes | None = None, **environment: str
) -> tuple[int, bytes, bytes]:
    surroundings = {**ENVIRONMENT, "STOA_URL": server.url, "STOA_KEY": FIRST_KEY, "HOME": "/nowhere", **environment}
    process = await asyncio.create_subprocess_exec(
        *STOA, *arguments, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate(said or b"")
    assert process.returncode is not None
    assert b"Traceback" not in errors, errors.decode("utf-8", "replace")
    return process.returncode, out, errors


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
async def test_a_terminal_that_cannot_say_it(server: Running, encoding: str) -> None:
    code, out, _ = await run(server, "ask", "Grüße 🌍", PYTHONIOENCODING=encoding)
    assert code == 0
    assert b"Gr" in out
    assert b"done" in out
    code, out, _ = await run(server, "runs", "list", "--json", PYTHONIOENCODING=encoding)
    assert json.loads(out.decode(encoding))[0]["output"] == WORDS, "JSON is whole in any encoding"


async def test_arguments_and_input_that_are_no_utf_8(server: Running) -> None:
    code, _, _ = await run(server, "ask", "-", said=b"\xef\xbb\xbfGr\xfc\xdfe\r\nan alle\r\n")
    assert code == 0
    (found,) = json.loads((await run(server, "runs", "list", "--json", "--limit", "1"))[1])
    assert found["input"]["content"][0]["text"] == "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e\nan alle"
    code, _, errors = await run(server, "ask", os.fsdecode(b"Gr\xfc\xdfe"))
    assert code in (0, 1), errors


async def test_a_reader_that_has_seen_enough(server: Running) -> None:
    """As `| head -1` does; no complaint, and no traceback of the interpreter's end."""
    command = f"{STOA[0]} -m stoa runs list --all --json | head -c 1"
    surroundings = {**ENVIRONMENT, "STOA_URL": server.url, "STOA_KEY": FIRST_KEY}
    for _ in range(30):
        await server.ask(await server.conversation(), "x" * 3000)
    process = await asyncio.create_subprocess_shell(
        f"{command}; {command.replace(' --json', '')}", env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert (len(out), errors) == (2, b"")


async def test_what_a_model_says_cannot_drive_the_terminal(server: Running, tmp_path: Path) -> None:
    environment = {"STOA_URL": server.url, "STOA_KEY": FIRST_KEY, "HOME": str(tmp_path), "PYTHONUTF8": "1"}
    for variables in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1", "COLUMNS": "20"}):
        async with shown("ask", "Hi", environment={**environment, **variables}, columns=60) as terminal:
            assert await terminal.ended() == 0
            assert "owned" in terminal.screen.text
            assert "\x1b]0" not in terminal.raw
            assert "\x1b[2J" not in terminal.raw
            assert terminal.screen.text.count("漢字") == 1
            if "NO_COLOR" in variables:
                assert "\x1b[3" not in terminal.raw, "no colours"
            if variables.get("TERM") == "dumb":
                assert "\x1b" not in terminal.raw


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 10), (3, 200), (0, 0)])
async def test_windows_of_odd_sizes(server: Running, tmp_path: Path, rows: int, columns: int) -> None:
    environment = {"STOA_URL": server.url, "STOA_KEY": FIRST_KEY, "HOME": str(tmp_path)}
    async with shown("ask", "Hi", environment=environment, rows=rows, columns=columns) as terminal:
        terminal.screen.rows, terminal.screen.columns = max(rows, 1), max(columns, 1)
        assert await terminal.ended() == 0
        assert "Traceback" not in terminal.raw


async def test_proxies_of_the_environment(server: Running) -> None:
    """Never for this machine; a broken one for others is a sentence."""
    broken = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    assert (await run(server, "models", "list", **broken))[0] == 0
    code, _, errors = await run(server, "models", "list", "--url", "http://stoa.invalid", **broken)
    assert (code, b"No server answers" in errors) == (3, True)
    code, _, errors = await run(server, "models", "list", "--url", "http://stoa.invalid", HTTP_PROXY="socks5://x:1")
    assert code == 3


async def test_no_home_and_nothing_to_write_to(server: Running, tmp_path: Path) -> None:
    readonly = tmp_path / "file"
    readonly.write_text("not a directory")
    assert (await run(server, "models", "list", HOME=str(readonly)))[0] == 0
    code, _, errors = await run(server, "login", "--key-stdin", said=FIRST_KEY.encode(), HOME=str(readonly))
    assert (code, b"cannot be written" in errors) == (2, True)


async def test_ctrl_c_in_a_pipe_stops_the_run(dsn: str, tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with serving(dsn, tmp_path, ScriptedModel([[*answer("Begun ")[:1], gate]])) as slow:
        process = await asyncio.create_subprocess_exec(
            *STOA, "ask", "Hi", "--events", env={**ENVIRONMENT, "STOA_URL": slow.url, "STOA_KEY": FIRST_KEY},
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"agent.response.delta" not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            rest = (await process.stdout.read()).decode().splitlines()
            assert await process.wait() == 130
        assert json.loads(rest[-1])["type"] == "run.canceled"
        gate.set()

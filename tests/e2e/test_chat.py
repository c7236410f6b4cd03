"""`stoa chat` in a terminal, against a real server: nothing is lost and nothing comes twice, whoever is killed."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import Capabilities
from stoa.tools import ToolResult
from tests.conftest import FIRST_KEY, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.nodes import KEY, Node, script, started
from tests.support.screen import Shown, shown
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)
TALL = [f"Line {number:03} of the answer.\n\n" for number in range(40)]
AGAIN = [f"Anew {number:03} is written.\n\n" for number in range(12)]


@asynccontextmanager
async def alone(dsn: str, room: Path) -> AsyncIterator[Node]:
    async with ScriptedServer() as model, started([dsn], room, model.url) as (node,):
        yield node


@asynccontextmanager
async def at_terminal(node: Node, home: Path, *arguments: str, rows: int = 30, **more: str) -> AsyncIterator[Shown]:
    environment = {"STOA_URL": node.url, "STOA_KEY": KEY, "HOME": str(home), "INPUTRC": "/dev/null", **more}
    async with shown(*arguments, environment=environment, rows=rows) as terminal:
        yield terminal


def typed(**fields: object) -> str:
    """A script to be typed: the terminal shows what is typed, and that must not look like the answer."""
    return script(**fields).replace("Line", "\\u004cine") + "\r"


def count(text: str, pieces: list[str]) -> list[int]:
    return [text.count(piece.strip()) for piece in pieces]


@pytest.mark.parametrize("rows", [60, 8], ids=["it fits the screen", "it has scrolled away"])
async def test_a_killed_server_costs_no_text_and_repeats_none(dsn: str, tmp_path: Path, rows: int) -> None:
    """What the killed server had said is void, and comes otherwise."""
    message = script(pieces=TALL, delay=0.25, id="first", again={"pieces": AGAIN, "delay": 0.01, "id": "again"})
    async with alone(dsn, tmp_path / "node") as node:
        conversation = await node.conversation()
        await node.send(conversation, message)
        async with at_terminal(node, tmp_path, "chat", conversation, rows=rows) as chat:
            await chat.until("Line 012")
            await node.kill()
            await node.start()
            await chat.until("verified ✓", seconds=60)
            await chat.until("\n>")
            said = chat.screen.text
            assert count(said, AGAIN) == [1] * len(AGAIN), said
            if rows == 60:
                assert "Line 0" not in said, said
                assert "interrupted" not in said
            else:
                assert said.count("what follows replaces the answer above") == 1, said
                assert max(count(said, TALL)) == 1, said
            chat.type("/exit\r")
            assert await chat.ended() == 0


async def test_what_comes_the_same_again_is_not_printed_again(dsn: str, tmp_path: Path) -> None:
    again = {"pieces": TALL, "delay": 0.005, "id": "again"}
    async with alone(dsn, tmp_path / "node") as node:
        conversation = await node.conversation()
        await node.send(conversation, script(pieces=TALL, delay=0.25, id="first", again=again))
        async with at_terminal(node, tmp_path, "chat", conversation, rows=8) as chat:
            await chat.until("Line 012")
            await node.kill()
            await node.start()
            await chat.until("verified ✓", seconds=60)
            said = chat.screen.text
            assert count(said, TALL) == [1] * len(TALL), said
            assert "replaces" not in said


async def test_a_killed_chat_is_taken_up_by_the_next(dsn: str, tmp_path: Path) -> None:
    async with alone(dsn, tmp_path / "node") as node:
        async with at_terminal(node, tmp_path, "chat") as chat:
            await chat.until("\n>")
            chat.type(typed(pieces=TALL, delay=0.05, id="slow"))
            await chat.until("Line 003")
            chat.kill(signal.SIGKILL)
            assert await chat.ended() == -signal.SIGKILL
        async with at_terminal(node, tmp_path, "chat") as chat:
            await chat.until("it goes on")
            await chat.until("verified ✓", seconds=60)
            await chat.until("\n>")
            assert count(chat.screen.text, TALL) == [1] * len(TALL)
            chat.type("/exit\r")
            assert await chat.ended() == 0
        runs = await node.call("GET", "/v1/runs")
        assert runs["pagination"]["total_count"] == 1
        async with at_terminal(node, tmp_path, "chat") as chat:
            await chat.until("\n>")
            assert "it goes on" not in chat.screen.text, "it was taken up once"


async def test_ctrl_z_and_ctrl_c(dsn: str, tmp_path: Path) -> None:
    """Suspended, a window of another size, gone on; then stopped: the server says what was kept."""
    async with alone(dsn, tmp_path / "node") as node, at_terminal(node, tmp_path, "chat") as chat:
        await chat.until("\n>")
        chat.type(typed(pieces=TALL, delay=0.1, id="slow"))
        await chat.until("Line 003")
        chat.type("\x1a")
        assert await chat.stopped()
        chat.resize(20, 50)
        chat.kill(signal.SIGCONT)
        await chat.until("Line 010")
        chat.type("\x03")
        await chat.until("Stopped. What was said is kept.")
        await chat.until("\n>", times=2)
        said = chat.screen.text
        seen = [number for number in count(said, TALL) if number]
        assert seen == [1] * len(seen), said
        assert len(seen) >= 10
        runs = (await node.call("GET", "/v1/runs"))["data"]
        assert [run["status"] for run in runs] == ["canceled"]
        chat.type("\x04")
        assert await chat.ended() == 0


async def test_a_lost_server_is_waited_for(dsn: str, tmp_path: Path) -> None:
    """A message that is sent while there is no server goes out once there is one."""
    async with alone(dsn, tmp_path / "node") as node, at_terminal(node, tmp_path, "chat") as chat:
        await chat.until("\n>")
        await node.kill()
        chat.type("Hello\r")
        await chat.until("No server answers")
        await node.start()
        await chat.until("verified ✓", seconds=60)
        assert (await node.call("GET", "/v1/runs"))["pagination"]["total_count"] == 1


async def test_the_window_s_close_ends_the_command_and_not_the_run(dsn: str, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The command inherits it, and under nohup it would be ignored.
    async with alone(dsn, tmp_path / "node") as node:
        async with at_terminal(node, tmp_path, "ask", script(pieces=TALL, delay=0.02, id="slow")) as terminal:
            await terminal.until("Line 003")
            terminal.kill(signal.SIGHUP)
            assert await terminal.ended() == -signal.SIGHUP
        run = (await node.call("GET", "/v1/runs"))["data"][0]["id"]
        found = await node.run(run, "completed")
        assert found["output"] == "".join(TALL)


async def test_an_approval_and_a_question_are_answered_in_place(dsn: str, tmp_path: Path) -> None:
    pay = ScriptedTool("pay", [ToolResult("paid")], approval=True, editable_params=["amount"])
    asking = calling(("ask_human", '{"question": "Window or aisle?", "options": ["Window", "Aisle"]}'))
    scripts: list[Any] = [calling(("pay", '{"amount": 5}'), say="I pay. "), asking, answer("Booked.")]
    model = ScriptedModel(scripts, Capabilities(images=True, tools=True, context_tokens=8_000))
    async with serving(dsn, tmp_path / "server", model, toolbox=ScriptedToolbox(pay)) as server:
        conversation = await server.conversation(agent={"tools": ["pay"], "human_feedback": True})
        environment = {"STOA_URL": server.url, "STOA_KEY": FIRST_KEY, "HOME": str(tmp_path), "INPUTRC": "/dev/null"}
        async with shown("chat", conversation, environment=environment, rows=50) as chat:
            await chat.until("\n>")
            chat.type("Book it\r")
            await chat.until("Approve? [y]es, [n]o, [e]dit:")
            chat.type("e\r")
            await chat.until("amount [5]:")
            chat.type("7\r")
            await chat.until("Your answer:")
            chat.type("2\r")
            await chat.until("verified ✓")
            said = chat.screen.text
            assert [said.count(words) for words in ("I pay.", "Booked.", "pay amount=7", "2. Aisle")] == [1, 1, 1, 1], (
                said
            )
    assert [arguments for arguments, _ in pay.made] == [{"amount": 7}]


async def test_what_is_typed_or_pasted_meanwhile(dsn: str, tmp_path: Path) -> None:
    """Keys in mid-answer disturb nothing and wait for the next prompt; a paste of several lines is one message."""
    async with alone(dsn, tmp_path / "node") as node, at_terminal(node, tmp_path, "chat", rows=12) as chat:
        await chat.until("\n>")
        chat.type(typed(pieces=TALL, delay=0.03, id="slow"))
        await chat.until("Line 003")
        chat.type("\r\r")
        await chat.until("Line 010")
        chat.type("\r")
        await chat.until("verified ✓")
        assert count(chat.screen.text, TALL) == [1] * len(TALL), chat.screen.text
        await chat.until("\n>", times=2)
        chat.type("\x1b[200~first\nsecond\x1b[201~")
        await chat.until("second")
        chat.type("\r")
        await chat.until("verified ✓", times=2)
        (newest, *_) = (await node.call("GET", "/v1/runs"))["data"]
        assert newest["input"]["content"] == [{"type": "text", "text": "first\nsecond"}]
        chat.kill(signal.SIGTERM)
        assert await chat.ended() == -signal.SIGTERM

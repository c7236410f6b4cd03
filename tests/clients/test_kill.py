"""Both clients against a real server that is killed in mid-answer and started again on the same port: the iterator goes
on, nothing comes twice, and the whole is proven.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stoa_client import AsyncStoa, RetryPolicy
from stoa_client.events import ResponseDelta, RunRecovered
from tests.support.javascript import node_command
from tests.support.nodes import KEY, Node, script, started
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)
AGAIN = {"pieces": [f"B{n} " for n in range(20)], "delay": 0.01, "id": "killed-again"}
MESSAGE = script(pieces=[f"A{n} " for n in range(600)], delay=0.02, id="killed", again=AGAIN)
ANSWER = "".join(AGAIN["pieces"])  # type: ignore[arg-type]


@asynccontextmanager
async def alone(dsn: str, room: Path) -> AsyncIterator[Node]:
    async with ScriptedServer() as model, started([dsn], room, model.url) as (node,):
        yield node


async def killed_and_started(node: Node) -> None:
    await node.kill()
    await node.start()


async def test_python_goes_on(dsn: str, tmp_path: Path) -> None:
    quick = RetryPolicy(seconds_max=0.5)
    async with (
        alone(dsn, tmp_path / "node") as node,
        asyncio.timeout(100),
        AsyncStoa(node.url, KEY, retries=quick) as stoa,
        await stoa.send(await node.conversation(), MESSAGE) as stream,
    ):
        sequences, restart, recovered = [], None, 0
        async for event in stream:
            sequences.append(event.sequence)
            recovered += isinstance(event, RunRecovered)
            if restart is None and isinstance(event, ResponseDelta):
                restart = asyncio.create_task(killed_and_started(node))
        assert restart is not None
        await restart
        assert sequences == list(range(1, len(sequences) + 1))
        assert (recovered, stream.verified) == (1, True)
        assert stream.text == await stream.output() == ANSWER


async def test_javascript_goes_on(dsn: str, tmp_path: Path) -> None:
    command = node_command()
    async with alone(dsn, tmp_path / "node") as node, asyncio.timeout(100):
        told = json.dumps({"url": node.url, "key": KEY, "conversation": await node.conversation(), "message": MESSAGE})
        process = await asyncio.create_subprocess_exec(
            command,
            str(Path(__file__).with_name("run_killed.mjs")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(told.encode())
            process.stdin.close()
            assert await process.stdout.readline() == b"begun\n"
            await killed_and_started(node)
            said = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert said["sequences"] == list(range(1, len(said["sequences"]) + 1))
    assert (said["recovered"], said["verified"]) == (1, True)
    assert said["text"] == said["output"] == ANSWER

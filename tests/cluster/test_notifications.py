"""A node dies after a commit and before its NOTIFY: whoever had to hear of it finds it by polling, soon, whole and
once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support.nodes import TERMINAL, BlockableProxy, Node, script, started
from tests.support.scripted_model import ScriptedServer

pytestmark = pytest.mark.timeout(120)
FOUND_SECONDS_MAX = 4.0
"""Streams poll each second, claims each half second, cancels are compared every two seconds; the rest is for a machine
that tests share."""


class DeadlyWay(BlockableProxy):
    """A node's road to the database. When the node sends a notification that `kills`, the node is killed and nothing
    comes through: what it was about is committed, and the NOTIFY never began."""

    node: Node
    channel: bytes = b""
    died: asyncio.Event

    sure: Callable[[], Awaitable[bool]] | None = None
    """Whether this notification is the one; None for the first."""

    def arm(self, channel: bytes, sure: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.channel, self.sure, self.died = channel, sure, asyncio.Event()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if self.channel and self.channel in data and (self.sure is None or await self.sure()):
                self.channel = b""
                self.node.process.kill()
                self.died.set()
                return
            target.write(data)
            await target.drain()


@pytest.fixture(scope="module")
async def pair(cluster: Any, room: Path, upstream: ScriptedServer) -> AsyncIterator[tuple[Node, Node, DeadlyWay]]:
    """A node that dies by its notifications, and its neighbour."""
    name = f"pair_{uuid4().hex}"
    dsn = await cluster.copy(name)
    async with DeadlyWay(dsn) as way, started([way.dsn, dsn], room / name, upstream.url) as (mortal, other):
        way.node = mortal
        yield mortal, other, way


@asynccontextmanager
async def dead_at(
    pair: tuple[Node, Node, DeadlyWay], channel: bytes, sure: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[tuple[Node, Node, Callable[[], Awaitable[float]]]]:
    """Gives both nodes, and what waits until the one has died."""
    mortal, other, way = pair
    if not mortal.process.is_alive():
        await mortal.start()
    way.arm(channel, sure)

    async def died() -> float:
        async with asyncio.timeout(20):
            await way.died.wait()
        died_at = time.monotonic()
        await mortal.kill()
        return died_at

    try:
        yield mortal, other, died
    finally:
        way.channel = b""


async def followed(node: Node, run_id: str) -> tuple[list[dict[str, Any]], float]:
    """All events as a reader of this node gets them, and when it had the last one."""
    seen = [event async for event, _ in node.follow(run_id)]
    return seen, time.monotonic()


def whole(seen: list[dict[str, Any]]) -> bool:
    numbers = [event["sequence"] for event in seen]
    return numbers == list(range(1, len(seen) + 1)) and sum(event["type"] in TERMINAL for event in seen) == 1


async def test_events_that_were_stored_and_not_announced(
    pair: tuple[Node, Node, DeadlyWay], upstream: ScriptedServer
) -> None:
    """In the middle of an answer: the other node's reader gets them, and the run goes on there."""
    name = uuid4().hex
    again = {"pieces": ["B1 ", "B2."], "id": f"{name}-again"}
    said = {"pieces": ["A1 ", "A2 ", "A3 "], "delay": 0.3, "id": name, "again": again}
    async with dead_at(pair, b"") as (mortal, other, _):
        run_id = await mortal.send(await mortal.conversation(), script(**said))
        reading = asyncio.create_task(followed(other, run_id))
        while upstream.log.get(name, {}).get("said", 0) < 2:
            await asyncio.sleep(0.005)
        async with dead_at(pair, b"stoa_journal") as (_, _, died):
            died_at = await died()
            seen, ended_at = await reading
        assert whole(seen)
        assert "run.recovered" in [event["type"] for event in seen]
        assert seen[-1]["data"]["output"] == "B1 B2."
        assert ended_at - died_at < FOUND_SECONDS_MAX


async def test_an_end_that_was_stored_and_not_announced(pair: tuple[Node, Node, DeadlyWay]) -> None:
    _, other, _ = pair
    database = await asyncpg.connect(other.dsn)
    run_id = ""

    async def ended() -> bool:
        return bool(run_id) and await database.fetchval("SELECT sealed FROM journals WHERE run_id = $1", run_id)

    try:
        async with dead_at(pair, b"stoa_journal", ended) as (mortal, other, died):
            run_id = await mortal.send(await mortal.conversation(), script(pieces=["One ", "two."], delay=0.2))
            reading = asyncio.create_task(followed(other, run_id))
            died_at = await died()
            seen, ended_at = await reading
        assert whole(seen)
        assert (seen[-1]["type"], seen[-1]["data"]["output"]) == ("run.completed", "One two.")
        assert ended_at - died_at < FOUND_SECONDS_MAX
        assert (await other.run(run_id))["attempt"] == 1
    finally:
        await database.close()


async def test_a_cancel_that_was_stored_and_not_announced(
    pair: tuple[Node, Node, DeadlyWay], upstream: ScriptedServer
) -> None:
    """Whoever asked for it got no answer. It takes effect all the same, at the node that works on the run."""
    name = uuid4().hex
    async with dead_at(pair, b"stoa_runs") as (mortal, other, died):
        run_id = await other.send(await other.conversation(), script(pieces=["a ", "b "], stall=1, id=name))
        while upstream.log.get(name, {}).get("said", 0) < 1:
            await asyncio.sleep(0.005)
        asking = asyncio.create_task(mortal.call("POST", f"/v1/runs/{run_id}/cancel"))
        died_at = await died()
        run = await other.run(run_id, "canceled")
        assert time.monotonic() - died_at < FOUND_SECONDS_MAX
        assert run["output"] == "a "
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_turn_that_was_given_and_not_announced(pair: tuple[Node, Node, DeadlyWay]) -> None:
    """The queue's next run is claimed by a node that heard nothing of it."""
    async with dead_at(pair, b"stoa_runs") as (mortal, other, died):
        conversation = await mortal.conversation()
        first = await mortal.send(conversation, script(pieces=["First."], delay=0.3))
        second = await other.send(conversation, script(pieces=["Second."]), on_busy="queue")
        died_at = await died()
        run = await other.run(second, "completed")
        assert time.monotonic() - died_at < FOUND_SECONDS_MAX
        assert run["output"] == "Second."
        assert (await other.run(first))["status"] == "completed"

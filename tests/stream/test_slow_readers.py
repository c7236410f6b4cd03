"""Readers that stall or come late: they cost no run its speed and the server a bounded memory. The full counts are in
bench/readers.py."""

import asyncio
from pathlib import Path
from uuid import uuid4

import asyncpg

from stoa.db import Database
from stoa.gateway import Finish, ReasoningDelta, TextDelta, Usage
from stoa.journal import Journal, JournalWriter, LiveBuffer
from stoa.journal.service import READ_BYTES_MAX, READ_EVENTS_MAX
from stoa.kernel.clock import SystemClock
from stoa.kernel.principal import Principal
from tests.conftest import Running
from tests.support.slow_readers import fill, stalled_readers

STALLED = 200
ANSWER_BYTES = 6_000_000
GROWTH_BYTES_MAX = 160_000_000
"""Far below what 200 readers would hold of the answer, and far above what the rest of a test process does."""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


async def test_stalled_readers_hold_nothing_up(running: Running) -> None:
    begin = asyncio.Event()
    pieces = [[kind("x" * 1_000)] for _ in range(ANSWER_BYTES // 2_000) for kind in (ReasoningDelta, TextDelta)]
    running.model.scripts = [[begin, *pieces, [Usage(1, 1), Finish("stop")]]]
    talk = await running.conversation()
    run = (
        await running.call(
            "POST", f"/v3/conversations/{talk}/messages", 202, json={"content": "Go", "background": True}
        )
    )["data"]
    path = f"/v1/runs/{run['id']}/stream"
    async with stalled_readers(running.url, path, STALLED):
        before = resident_bytes()
        begin.set()
        async with asyncio.timeout(60), running.client.stream("GET", path) as live:
            received, ended = 0, False
            async for chunk in live.aiter_bytes():
                received, ended = received + len(chunk), ended or b"event: run.completed\n" in chunk
        assert (ended, received > ANSWER_BYTES) == (True, True)
        grown = resident_bytes() - before
        assert grown < GROWTH_BYTES_MAX, f"{grown / 1e6:.0f} MB"
        # And the server answers others meanwhile.
        assert (await running.call("GET", f"/v1/runs/{run['id']}"))["data"]["status"] == "completed"


async def test_a_long_journal_is_read_in_bounded_pieces(dsn: str) -> None:
    """20,000 events of which some are large, page by page: each piece is bounded, and together they are all."""
    database = await Database.open(dsn, connections_max=4)
    live = LiveBuffer()
    journal = Journal(database, JournalWriter(dsn, live, SystemClock()), live)
    org_id, run_id = uuid4(), uuid4()
    try:
        await fill(dsn, org_id, run_id, 20_000)
        principal, after, pieces = Principal(org_id, None, uuid4()), 0, 0
        while records := await journal.read(principal, run_id, after):
            assert [record.sequence for record in records] == list(range(after + 1, after + 1 + len(records)))
            size = sum(len(record.payload) for record in records)
            assert len(records) <= READ_EVENTS_MAX
            assert size - len(records[-1].payload) < READ_BYTES_MAX
            after, pieces = records[-1].sequence, pieces + 1
        assert after == 20_000
        assert 20 < pieces < 400
        # A page that was asked for is whole, whatever it weighs.
        assert len(await journal.read(principal, run_id, 0, 500, whole=True)) == 500
    finally:
        await database.close()


async def test_a_long_run_is_replayed_whole_and_in_order(running: Running) -> None:
    database = await asyncpg.connect(running.dsn)
    org_id = await database.fetchval("SELECT id FROM orgs")
    await database.close()
    run_id = uuid4()
    await fill(running.dsn, org_id, run_id, 20_000)
    before, expected, rest = resident_bytes(), 1, b""
    async with asyncio.timeout(60), running.client.stream("GET", f"/v1/runs/{run_id}/stream") as replay:
        async for chunk in replay.aiter_bytes():
            *frames, rest = (rest + chunk).split(b"\n\n")
            for frame in frames:
                assert frame.startswith(f"id: {expected}\n".encode())
                expected += 1
    assert (expected, rest) == (20_001, b"")
    assert resident_bytes() - before < 60_000_000

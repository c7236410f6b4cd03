"""Triggers that come due across daylight saving changes while their servers are killed: for
tests/crash/test_triggers.py and bench/triggers.py.

Every node has the same fast clock, which jumps over a week between two changes: Berlin's spring and Sydney's autumn.
Afterwards the events are compared with the schedules: each due time has one event, each accepted event its own run, and
no run lacks an event.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import asyncpg

from stoa.kernel.clock import SystemClock
from stoa.triggers.rules import from_json
from stoa.triggers.schedules import instants
from tests.support.apps import deployed
from tests.support.doubles import ScriptedModel
from tests.support.forking import context
from tests.support.running import Running, serving

WINDOWS = (
    (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 4, tzinfo=UTC)),
    (datetime(2026, 4, 4, 13, tzinfo=UTC), datetime(2026, 4, 4, 18, tzinfo=UTC)),
)
CONFIGS: tuple[dict[str, Any], ...] = (
    {"timezone": "Europe/Berlin", "schedule": "30 2 * * *", "catch_up": "all"},
    {"timezone": "Europe/Berlin", "schedule": "0,30 2 * * *", "catch_up": "last"},
    {"timezone": "Europe/Berlin", "schedule": "0 2,3 * * *", "catch_up": "all"},
    {"timezone": "Australia/Sydney", "schedule": "30 2 * * *", "catch_up": "all"},
    {"timezone": "Australia/Sydney", "schedule": "*/30 2 * * *", "catch_up": "skip"},
    {"timezone": "Europe/Berlin", "schedule": "0 */3 * * *", "catch_up": "last"},
)


class HurriedClock(SystemClock):
    """Runs through the windows from `begin` (of time.time) on, then stops."""

    def __init__(self, begin: float, factor: float, windows: int) -> None:
        self._begin = begin
        self._factor = factor
        self._windows = WINDOWS[:windows]

    def now(self) -> datetime:
        passed = timedelta(seconds=max(time.time() - self._begin, 0.0) * self._factor)
        for start, end in self._windows:
            if passed <= end - start:
                return start + passed
            passed -= end - start
        return self._windows[-1][1]


def node(dsn: str, home: str, begin: float, factor: float, windows: int) -> None:
    """A server in a process of its own, until it is killed."""
    asyncio.run(_serve(dsn, Path(home), HurriedClock(begin, factor, windows)))


async def _serve(dsn: str, home: Path, clock: HurriedClock) -> None:
    async with serving(dsn, home, ScriptedModel(), clock=clock, connections_max=8):
        await asyncio.get_running_loop().create_future()


@dataclass
class Report:
    triggers: int
    kills: int
    instants: int = 0
    accepted: int = 0
    missed: int = 0
    runs: int = 0
    seconds: float = 0.0
    taken_over: int = 0
    """Events whose run was started by another node or a later attempt."""


async def storm(
    dsn: str, home: Path, *, triggers: int, nodes: int, kills: int, factor: float, windows: int, seed: int
) -> Report:
    """Raises AssertionError for a violated invariant."""
    report, began = Report(triggers, kills), time.time()
    await _prepare(dsn, home, triggers)
    chance = random.Random(seed)
    begin = time.time() + 2.0
    last = sum(((end - start) / factor for start, end in WINDOWS[:windows]), timedelta()).total_seconds()

    def start(number: int) -> Any:
        arguments = (dsn, str(home / f"node-{number}"), begin, factor, windows)
        process = context().Process(target=node, args=arguments, daemon=True)
        process.start()
        return process

    running = [start(number) for number in range(nodes)]
    try:
        pause = (last + 2.0) / (kills + 1)
        for _ in range(kills):
            await asyncio.sleep(pause * chance.uniform(0.7, 1.3))
            victim = chance.randrange(nodes)
            os.kill(running[victim].pid, signal.SIGKILL)
            await asyncio.to_thread(running[victim].join)
            running[victim] = start(victim)
        await _settled(dsn, begin + last, windows)
    finally:
        for process in running:
            process.kill()
            await asyncio.to_thread(process.join)
    await _check(dsn, report, windows)
    report.seconds = round(time.time() - began, 1)
    return report


async def _prepare(dsn: str, home: Path, count: int) -> None:
    """Creates the triggers and activates them before the first window, then stops the server."""
    standing = HurriedClock(time.time() + 10_000, 1, 1)
    async with serving(dsn, home / "first", ScriptedModel(), clock=standing) as server:
        apps = [(await deployed(server, name=f"App {number}"))["id"] for number in range(1 + count // 150)]
        gate = asyncio.Semaphore(8)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                config = CONFIGS[number % len(CONFIGS)]
                group.create_task(_create(server, gate, apps[number // 150], config, number))


async def _create(server: Running, gate: asyncio.Semaphore, app_id: str, config: dict[str, Any], number: int) -> None:
    body = {"name": f"t{number}", "provider": "schedule", "config": config}
    async with gate:
        made = (await server.call("POST", f"/v1/apps/{app_id}/triggers", json=body))["data"]
        await server.call("POST", f"/v1/apps/{app_id}/triggers/{made['id']}/activate")


async def _settled(dsn: str, end: float, windows: int) -> None:
    """Returns once the clock has stopped and nothing is due or pending."""
    database = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(300):
            while time.time() < end + 1.5 or await database.fetchval(
                "SELECT EXISTS (SELECT 1 FROM trigger_events WHERE status IN ('pending', 'starting'))"
                " OR EXISTS (SELECT 1 FROM triggers WHERE wake_at <= $1)",
                WINDOWS[windows - 1][1],
            ):
                await asyncio.sleep(0.1)
    finally:
        await database.close()


async def _check(dsn: str, report: Report, windows: int) -> None:
    first, end = WINDOWS[0][0], WINDOWS[windows - 1][1]
    database = await asyncpg.connect(dsn)
    await database.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    try:
        events = await database.fetch("SELECT * FROM trigger_events")
        for trigger in await database.fetch("SELECT * FROM triggers"):
            schedule: Any = from_json(trigger["config"])
            due = set(takewhile(lambda one: one <= end, instants(schedule, first)))
            own = [one for one in events if one["trigger_id"] == trigger["id"]]
            fired = Counter(one["due_at"] for one in own if one["status"] == "accepted")
            missed = sum(one["payload"]["missed"] for one in own if one["status"] == "skipped")
            assert set(fired) <= due, f"{schedule}: fired when it was not due: {set(fired) - due}"
            assert not [one for one, times in fired.items() if times > 1], "an instant fired twice"
            assert len(fired) + missed == len(due), f"{schedule}: {len(fired)} fired, {missed} missed, {len(due)} due"
            if trigger["config"]["catch_up"] == "all":
                assert set(fired) == due, f"{schedule}: {due - set(fired)} did not fire"
            report.instants += len(due)
            report.accepted += len(fired)
            report.missed += missed
        assert {one["status"] for one in events} <= {"accepted", "skipped"}
        runs = [one["run_id"] for one in events if one["status"] == "accepted"]
        assert None not in runs
        assert len(set(runs)) == len(runs), "two events share a run"
        report.runs = await database.fetchval("SELECT count(*) FROM runs")
        assert report.runs == len(runs), "a run began without its event"
        report.taken_over = sum(one["attempt"] > 1 for one in events)
    finally:
        await database.close()

"""Each due instant is one event, and each event one run, whoever looks and whoever dies."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from stoa.db import Database, Tx
from stoa.db.internal import internal
from stoa.db.leases import JobFailed, Superseded
from stoa.db.node import Node
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from stoa.kernel.leases import Places
from stoa.kernel.principal import Principal
from stoa.triggers import rules
from stoa.triggers.ports import Settle
from stoa.triggers.types import Firing
from stoa.triggers.worker import TriggerWorker
from tests.support.doubles import FixedClock

ANY = Places(200).wanted(200)
NOW = datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC)


class Rows:
    """Runs as rows alone: what a trigger needs of them. `held` lets a test stop a start before it settles."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.held: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def start(
        self, principal: Principal, app_id: UUID, fields: Mapping[str, Any], _: Mapping[str, Any], settle: Settle, /
    ) -> None:
        async with internal(self._database) as tx:
            run_id = await insert_run(tx, principal, app_id, dict(fields))
            self.entered.set()
            if self.held is not None:
                await self.held.wait()
            await settle(tx, run_id)


async def insert_run(tx: Tx, principal: Principal, app_id: UUID, fields: dict[str, Any]) -> UUID:
    run_id, conversation = uuid4(), uuid4()
    await tx.execute(
        "INSERT INTO conversations (org_id, project_id, id, app_id) VALUES ($1, $2, $3, $4)",
        principal.org_id, principal.project_id, conversation, app_id,
    )  # fmt: skip
    await tx.execute(
        "INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, status, options,"
        " input, attempt, app_id) VALUES ($1, $2, $3, $4, $5, 1, 'created', '{}', $6, 0, $7)",
        principal.org_id, principal.project_id, run_id, conversation, uuid4(), fields, app_id,
    )  # fmt: skip
    return run_id


class Everybody:
    """Nobody is revoked."""

    async def acting(self, org_id: UUID, project_id: UUID, actor_id: UUID, _: bool, __: str, /) -> Principal | None:
        return Principal(org_id, project_id, actor_id)


class World:
    def __init__(self, database: Database, nodes: list[Node]) -> None:
        self.database = database
        self.nodes = nodes
        self.clock = FixedClock()
        self.clock.moment = NOW
        self.rows = Rows(database)
        self.org_id, self.project_id, self.app_id = uuid4(), uuid4(), uuid4()
        self.workers = [
            TriggerWorker(database, self.rows, Everybody(), RandomIds(), self.clock, node.id) for node in nodes
        ]

    async def trigger(self, config: dict[str, Any], next_at: datetime) -> UUID:
        trigger_id = uuid4()
        async with internal(self.database) as tx:
            await tx.execute(
                "INSERT INTO triggers (org_id, project_id, id, app_id, name, provider, config, status, next_at,"
                " wake_at, actor_id, actor_is_user)"
                " VALUES ($1, $2, $3, $4, 't', 'schedule', $5, 'active', $6, $6, $1, false)",
                self.org_id, self.project_id, trigger_id, self.app_id, config, next_at,
            )  # fmt: skip
        return trigger_id

    async def ask(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async with internal(self.database) as tx:
            return [tuple(row) for row in await tx.fetch(query, *arguments)]

    async def claim(self, worker: TriggerWorker) -> list[Firing]:
        return list(await worker.claim(ANY, ()))


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    database = await Database.open(dsn, connections_max=8)
    nodes = [Node(dsn, RandomIds(), SystemClock()) for _ in range(3)]
    for node in nodes:
        await node.start()
    made = World(database, nodes)
    async with internal(database) as tx:
        await tx.execute("INSERT INTO orgs (id, name) VALUES ($1, 'o')", made.org_id)
        await tx.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'p')", made.org_id, made.project_id)
        await tx.execute(
            "INSERT INTO apps (org_id, project_id, id, name, access_type, latest_deployment_id)"
            " VALUES ($1, $2, $3, 'a', 'private', $3)",
            made.org_id, made.project_id, made.app_id,
        )  # fmt: skip
    yield made
    for node in nodes:
        await node.stop()
    await database.close()


BERLIN = {"timezone": "Europe/Berlin", "schedule": "30 2 * * *", "catch_up": "last"}
DUE = datetime(2026, 3, 29, 1, tzinfo=UTC)
EVENTS = "SELECT trigger_id, due_at, status, run_id IS NOT NULL FROM trigger_events"


async def test_concurrent_nodes_write_each_due_time_once(world: World) -> None:
    ids = {await world.trigger(BERLIN, DUE) for _ in range(50)}
    for _ in range(3):
        await asyncio.gather(*(worker.look() for worker in world.workers))
    events = await world.ask(EVENTS)
    assert sorted(events) == sorted((trigger_id, DUE, "pending", False) for trigger_id in ids)
    assert {row[0] for row in await world.ask("SELECT next_at FROM triggers")} == {
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    }
    claimed = await asyncio.gather(*(world.claim(worker) for worker in world.workers))
    assert sorted(one.id for some in claimed for one in some) == sorted(
        row[0] for row in await world.ask("SELECT id FROM trigger_events")
    )
    await asyncio.gather(
        *(worker.work(one) for worker, some in zip(world.workers, claimed, strict=True) for one in some)
    )
    assert await world.ask("SELECT count(*) FROM runs") == [(50,)]
    assert {row[2:] for row in await world.ask(EVENTS)} == {("accepted", True)}


async def test_a_node_that_lost_its_event_starts_no_run(world: World) -> None:
    """It was frozen in the middle of its transaction, longer than its lease."""
    await world.trigger(BERLIN, DUE)
    slow, other = world.workers[:2]
    (firing,) = await world.claim(slow)
    assert await world.claim(other) == []
    world.rows.held = asyncio.Event()
    stuck = asyncio.create_task(slow.work(firing))
    await world.rows.entered.wait()
    await world.ask("UPDATE trigger_events SET deadline = now() - interval '1 second' RETURNING 1")
    (taken,) = await world.claim(other)
    assert (taken.id, taken.attempt) == (firing.id, 2)
    world.rows.held.set()
    world.rows.held = None
    with pytest.raises(Superseded):
        await stuck
    await other.work(taken)
    assert await world.ask("SELECT count(*) FROM runs") == [(1,)]
    with pytest.raises(Superseded):
        await slow.fail(firing, JobFailed("late", "Too late."))
    assert await world.ask("SELECT status, attempt FROM trigger_events") == [("accepted", 2)]


async def test_the_events_of_a_dead_node_and_answers_that_were_lost_are_claimed_again(world: World) -> None:
    await world.trigger(BERLIN, DUE)
    first, other = world.workers[:2]
    (firing,) = await world.claim(first)
    assert [one.attempt for one in await first.claim(ANY, ())] == [2], "the answer to the first claim was lost"
    assert await first.claim(ANY, [firing]) == []
    await world.nodes[0].stop()
    (taken,) = await world.claim(other)
    await other.work(taken)
    assert await world.ask("SELECT count(*) FROM runs") == [(1,)]


async def test_a_clock_that_goes_back_fires_nothing_twice(world: World) -> None:
    await world.trigger(BERLIN, DUE)
    await world.workers[0].look()
    world.clock.moment = NOW - timedelta(hours=3)
    await world.workers[0].look()
    world.clock.moment = NOW
    await world.workers[1].look()
    assert await world.ask("SELECT count(*) FROM trigger_events") == [(1,)]


@pytest.mark.parametrize(
    "config",
    [{**BERLIN, "timezone": "Mars/Olympus"}, {**BERLIN, "schedule": "0 0 30 2 *"}, {**BERLIN, "catch_up": "?"}],
)
async def test_a_schedule_that_cannot_be_read_stops_and_stops_no_other(world: World, config: dict[str, Any]) -> None:
    bad = await world.trigger(config, DUE - timedelta(minutes=1))
    good = await world.trigger(BERLIN, DUE)
    await world.workers[0].look()
    assert await world.ask("SELECT trigger_id FROM trigger_events") == [(good,)]
    ((status, problem),) = await world.ask("SELECT status, problem FROM triggers WHERE id = $1", bad)
    assert (status, problem["code"]) == ("inactive", "schedule_unusable")
    assert not await world.workers[0].look()


async def test_catching_up_waits_for_pending_events(world: World) -> None:
    minutely = {"timezone": "UTC", "schedule": "* * * * *", "catch_up": "all"}
    begin = NOW - timedelta(minutes=250)
    await world.trigger(minutely, begin.replace(second=0))
    for _ in range(10):
        await world.workers[0].look()
    assert await world.ask("SELECT count(*) FROM trigger_events") == [(rules.WAITING_MAX,)]
    for _ in range(5):
        world.clock.moment += timedelta(seconds=6)
        claimed = await world.claim(world.workers[0])
        for firing in claimed:
            await world.workers[0].work(firing)
        while await world.workers[0].look():
            pass
    ((events, instants),) = await world.ask("SELECT count(*), count(DISTINCT due_at) FROM trigger_events")
    assert events == instants == 251


async def test_a_log_is_kept_for_a_month(world: World) -> None:
    await world.trigger(BERLIN, DUE)
    await world.workers[0].look()
    (firing,) = await world.claim(world.workers[0])
    world.clock.moment = NOW + timedelta(days=31)
    await world.workers[0].sweep()
    assert await world.ask("SELECT count(*) FROM trigger_events") == [(1,)], "what waits is kept"
    await world.workers[0].work(firing)
    await world.workers[0].sweep()
    assert await world.ask("SELECT count(*) FROM trigger_events") == [(0,)]

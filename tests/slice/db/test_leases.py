"""The kit of leased jobs on a table of its own kind, and the one definition of a node that lives."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import pytest

from stoa.db.leases import JobFailed, JobWorker, Superseded, TookTooLong, renewed
from stoa.db.node import LOCK_CLASS
from stoa.kernel.errors import Unavailable
from stoa.kernel.leases import ClaimLimits, Lease, Places

pytestmark = pytest.mark.timeout(30)
LEASE = Lease(seconds=60, renew_seconds=10, poll_seconds=3_600, attempts_max=3)
PROJECT = uuid4()


@dataclass(frozen=True)
class Job:
    id: UUID = field(default_factory=uuid4)
    project_id: UUID = PROJECT
    attempt: int = 1


class Kind:
    """A table of jobs in memory: what waits, and what became of each."""

    def __init__(self, *waiting: Job) -> None:
        self.waiting = list(waiting)
        self.raises: BaseException | None = None
        self.ended: list[tuple[str, str]] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.given_back = False
        self.claims_fail = 0
        self.ends = asyncio.Event()

    async def claim(self, wanted: ClaimLimits, held: Sequence[Job], /) -> Sequence[Job]:
        if self.claims_fail:
            self.claims_fail -= 1
            raise Unavailable("away")
        taken, self.waiting = self.waiting[: wanted.jobs_max], self.waiting[wanted.jobs_max :]
        return taken

    async def work(self, job: Job, /) -> None:
        self.began.set()
        await self.go_on.wait()
        if self.raises is not None:
            self.ends.set()
            raise self.raises
        self._end("done", "")

    async def postpone(self, job: Job, failed: JobFailed, /) -> None:
        self._end("postponed", failed.code)

    async def fail(self, job: Job, failed: JobFailed, /) -> None:
        self._end("failed", failed.code)

    async def give_back(self) -> None:
        self.given_back = True

    def _end(self, how: str, code: str) -> None:
        self.ended.append((how, code))
        self.ends.set()


@pytest.mark.parametrize(
    ("raises", "attempt", "ended"),
    [
        (None, 1, [("done", "")]),
        (JobFailed("broken", "No."), 1, [("failed", "broken")]),
        (JobFailed("busy", "Later.", retryable=True), 1, [("postponed", "busy")]),
        (JobFailed("busy", "Later.", retryable=True), 3, [("failed", "busy")]),
        (RuntimeError("a bug"), 1, [("postponed", "internal_error")]),
        (RuntimeError("a bug"), 3, [("failed", "internal_error")]),
        (None, 4, [("failed", "attempts_exhausted")]),
        (Superseded(), 1, []),
        (Unavailable("away"), 1, []),
    ],
)
async def test_how_a_job_ends(raises: BaseException | None, attempt: int, ended: list[tuple[str, str]]) -> None:
    kind, places = Kind(Job(attempt=attempt)), Places(5)
    kind.raises = raises
    worker = JobWorker[Job]("job", kind, LEASE, places, "jobs.claim")
    worker.start()
    await kind.ends.wait()
    while worker.running:
        await asyncio.sleep(0)
    assert kind.ended == ended
    assert places.free == 5, "its place is free again, however it ended"
    await worker.stop()
    assert kind.given_back


async def test_a_node_works_on_no_more_than_it_has_places_and_goes_on_when_one_is_free() -> None:
    kind = Kind(*(Job() for _ in range(5)))
    kind.go_on.clear()
    worker = JobWorker[Job]("job", kind, LEASE, Places(2, 2), "jobs.claim")
    worker.start()
    await kind.began.wait()
    assert len(worker.running) == 2
    assert len(kind.waiting) == 3
    kind.go_on.set()  # The poll comes in an hour: only the end of a job can wake the loop.
    while len(kind.ended) < 5:
        await asyncio.sleep(0)
    await worker.stop()


async def test_a_claim_that_fails_is_tried_again_when_it_is_woken() -> None:
    kind = Kind(Job())
    kind.claims_fail = 2
    worker = JobWorker[Job]("job", kind, LEASE, Places(5), "jobs.claim")
    worker.start()
    while not kind.ended:
        worker.wake()
        await asyncio.sleep(0)
    assert not worker.heartbeat.stuck
    await worker.stop()


async def test_a_job_that_is_cut_short_by_a_stop_is_given_back() -> None:
    kind = Kind(Job())
    kind.go_on.clear()
    worker = JobWorker[Job]("job", kind, LEASE, Places(5), "jobs.claim")
    worker.start()
    await kind.began.wait()
    await worker.stop()
    assert (kind.ended, kind.given_back) == ([], True)


async def test_work_ends_when_its_renewal_says_so() -> None:
    stopped = asyncio.Event()
    times = 0

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def renew() -> None:
        nonlocal times
        times += 1
        if times == 2:
            raise Unavailable("a short outage ends nothing")
        if times == 4:
            raise Superseded

    with pytest.raises(Superseded):
        await renewed(work(), renew, 0.001)
    assert (times, stopped.is_set()) == (4, True)


async def test_work_that_takes_too_long_is_ended() -> None:
    async def renew() -> None: ...

    with pytest.raises(TookTooLong):
        await renewed(asyncio.Event().wait(), renew, 3_600, seconds_max=0.01)


async def test_a_renewal_can_be_made_at_once() -> None:
    woken, renewals = asyncio.Event(), asyncio.Event()

    async def renew() -> None:
        renewals.set()

    async def work() -> str:
        woken.set()
        await renewals.wait()
        return "done"

    assert await renewed(work(), renew, 3_600, woken=woken) == "done"


async def test_what_work_raises_is_raised() -> None:
    async def work() -> None:
        raise TimeoutError("of the work, not of the lease")

    async def renew() -> None: ...

    with pytest.raises(TimeoutError):
        await renewed(work(), renew, 3_600, seconds_max=5)


# --- nodes that live -----------------------------------------------------------------------------------------------
async def test_which_nodes_live(dsn: str) -> None:
    holder, other = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        # As far as PostgreSQL's start is concerned, this database has been up for long.
        long_ago = "pg_postmaster_start_time() > now() - interval '2.5 seconds'"
        while await other.fetchval(f"SELECT {long_ago}"):
            await asyncio.sleep(0.05)
        names: dict[UUID, str] = {}
        for number, (name, lock, lease) in enumerate(
            [("lives", True, "4 seconds"), ("no lock", False, "4 seconds"), ("lapsed", True, "-1 second")], 1
        ):
            node_id, key = uuid4(), 1_000_000 + number
            names[node_id] = name
            await other.execute(
                f"INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, $2, now() + interval '{lease}')",
                node_id,
                key,
            )
            if lock:
                await holder.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, key)
        living = "SELECT id FROM living_nodes"
        assert {names[row["id"]] for row in await other.fetch(living)} == {"lives"}
        dead = {names[row["id"]] for row in await other.fetch("SELECT id FROM dead_nodes")}
        assert dead == {"no lock", "lapsed"}, "what nodes of earlier versions read says the same"
        holder.terminate()  # Its process is gone: noticed at once, not when the lease runs out.
        async with asyncio.timeout(10):
            while await other.fetch(living):
                await asyncio.sleep(0.01)
    finally:
        with suppress(asyncpg.InterfaceError):
            holder.terminate()
        await other.close()


async def test_after_a_start_of_the_database_every_node_lives_for_a_moment(dsn: str) -> None:
    """None could renew its lease while the database was away. This is the condition of the view, moved in time."""
    connection = await asyncpg.connect(dsn)
    try:
        definition = str(await connection.fetchval("SELECT pg_get_viewdef('living_nodes'::regclass)"))
        just_now = definition.replace("pg_postmaster_start_time()", "(now() - interval '2 seconds')")
        a_while_ago = definition.replace("pg_postmaster_start_time()", "(now() - interval '3 seconds')")
        assert just_now != definition
        gone = uuid4()
        await connection.execute(
            "INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, 7, now() - interval '1 hour')", gone
        )
        assert [row["id"] for row in await connection.fetch(just_now)] == [gone]
        assert await connection.fetch(a_while_ago) == []
    finally:
        await connection.close()

"""The kit for leased jobs: claim → work under a lease → settle, or release.

A job is a row that is its own queue (docs/decisions/0011). This module has what is the same for every kind of job: the
claim loop, the renewal of the lease during the work, retries and their limit, and the release of jobs at shutdown.
Lease times are in `stoa.kernel.leases`; the view `living_nodes` defines which nodes are dead. A slice brings its
statements and its work as a `JobKind`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from stoa.db.sql import load
from stoa.kernel.errors import Unavailable
from stoa.kernel.leases import ClaimLimits, Lease, Places
from stoa.kernel.supervise import Heartbeat, Supervisor, Wakeup

_log = structlog.get_logger("stoa.db.leases")
_SQL: Final = load("stoa.db", "claiming.sql")
T = TypeVar("T")


class Superseded(Exception):
    """This worker no longer owns the job: it was changed, deleted, or claimed by another node."""


class JobFailed(Exception):
    """The work failed. A `retryable` failure is retried until the attempts are used up."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


class TookTooLong(Exception):
    """The work exceeded its time limit."""


class Job(Protocol):
    @property
    def id(self) -> UUID: ...

    @property
    def project_id(self) -> UUID: ...

    @property
    def attempt(self) -> int: ...


J = TypeVar("J", bound=Job)


class JobKind(Protocol[J]):
    """A slice's statements and work. Every writing statement is fenced: it raises Superseded if this worker no longer
    owns the job."""

    async def claim(self, wanted: ClaimLimits, held: Sequence[J], /) -> Sequence[J]:
        """Claims in one statement. A job whose row names this node but that is not in `held` (the connection dropped
        during its claim) is claimed again."""
        ...

    async def work(self, job: J, /) -> None:
        """Does it and settles it. Raises JobFailed, Superseded or Unavailable."""
        ...

    async def postpone(self, job: J, failed: JobFailed, /) -> None: ...

    async def fail(self, job: J, failed: JobFailed, /) -> None: ...

    async def give_back(self) -> None:
        """Called at shutdown: releases this node's jobs, and the attempt does not count."""
        ...


class ClaimLoop:
    """Calls `claim` while it finds jobs, then waits for `wake` or for the poll interval."""

    def __init__(self, name: str, lease: Lease, claim: Callable[[], Awaitable[bool]]) -> None:
        """`claim` returns whether there may be more jobs."""
        self.heartbeat = Heartbeat(name)
        self._wakeup = Wakeup(lease.poll_seconds)
        self._claim = claim

    def start(self, supervisor: Supervisor) -> None:
        supervisor.keep(self._forever, self.heartbeat.name, self.heartbeat)

    def wake(self) -> None:
        self._wakeup.wake()

    async def _forever(self) -> None:
        while True:
            self.heartbeat.begin()
            more = False
            with suppress(Unavailable):  # The next poll tries again.
                more = await self._claim()
                self.heartbeat.done()
            if not more:
                await self._wakeup.wait()


class JobWorker(Generic[J]):
    """Claims jobs of one kind and runs each in its own task, within this node's `places`."""

    def __init__(self, name: str, kind: JobKind[J], lease: Lease, places: Places, loop_name: str) -> None:
        """`name` is the job's noun (`item`), for messages, the log and the names of tasks."""
        self._name = name
        self._kind = kind
        self._attempts_max = lease.attempts_max
        self._places = places
        self._supervisor = Supervisor()
        self._loop = ClaimLoop(loop_name, lease, self._claim)
        self._running: dict[asyncio.Task[None], J] = {}

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    @property
    def running(self) -> Sequence[J]:
        return list(self._running.values())

    def start(self) -> None:
        self._loop.start(self._supervisor)

    async def stop(self) -> None:
        await self._supervisor.stop()
        with suppress(Unavailable):  # Then other nodes treat this one as dead.
            await self._kind.give_back()

    def wake(self) -> None:
        self._loop.wake()

    async def _claim(self) -> bool:
        if not self._places.free:
            return False
        jobs = await self._kind.claim(self._places.wanted(self._places.free), self.running)
        for job in jobs:
            self._places.take(job.project_id)
            self._running[self._supervisor.once(self._run(job), f"{self._name} {job.id}")] = job
        self._places.served([job.project_id for job in jobs])
        return bool(jobs)

    async def _run(self, job: J) -> None:
        try:
            await self._attempt(job)
        except Superseded:
            _log.info("job is another worker's now", kind=self._name, id=str(job.id))
        except Unavailable:
            _log.warning("database unavailable; the job will be claimed again", kind=self._name, id=str(job.id))
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._running.pop(task, None)
            self._places.leave(job.project_id)
            self._loop.wake()

    async def _attempt(self, job: J) -> None:
        if job.attempt > self._attempts_max:
            message = f"The server failed {self._attempts_max} times while it worked on this {self._name}."
            await self._kind.fail(job, JobFailed("attempts_exhausted", message))
            return
        try:
            await self._kind.work(job)
            return
        except JobFailed as error:
            failed = error
        except (Unavailable, Superseded):
            raise
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", kind=self._name, id=str(job.id))
            message = f"Something went wrong on the server. It was logged under this {self._name}'s id."
            failed = JobFailed("internal_error", message, retryable=True)
        if failed.retryable and job.attempt < self._attempts_max:
            await self._kind.postpone(job, failed)
        else:
            await self._kind.fail(job, failed)


async def renewed(
    work: Coroutine[Any, Any, T],
    renew: Callable[[], Awaitable[None]],
    every_seconds: float,
    *,
    woken: asyncio.Event | None = None,
    seconds_max: float | None = None,
) -> T:
    """Runs `work` while `renew` keeps its lease: every so many seconds, and whenever `woken` is set.

    An exception of `renew` ends the work, except Unavailable, because the lease outlasts a short outage. Raises
    TookTooLong after `seconds_max`.
    """
    main = asyncio.create_task(work)
    beside = asyncio.create_task(_renew_forever(renew, every_seconds, woken or asyncio.Event()))
    try:
        done, _ = await asyncio.wait({main, beside}, timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise TookTooLong
        if main not in done:
            beside.result()  # Raises, because a renewal only ends with an exception.
        return main.result()
    finally:
        for task in (main, beside):
            task.cancel()
        await asyncio.gather(main, beside, return_exceptions=True)


async def _renew_forever(renew: Callable[[], Awaitable[None]], every_seconds: float, woken: asyncio.Event) -> None:
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(every_seconds):
                await woken.wait()
        woken.clear()
        with suppress(Unavailable):
            await renew()


def claiming(statement: str, table: str, working: str) -> str:
    """`statement` with the choice of jobs in the place of `{claimable}`. `working` is the status of a job of `table`
    that a node works on."""
    claimable = _SQL.claimable.replace("{jobs}", table).replace("{working}", working)
    return statement.replace("{claimable}", claimable)

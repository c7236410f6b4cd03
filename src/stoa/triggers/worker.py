"""Processes due schedules, and starts the runs of events. Every node does both.

For a due schedule one transaction writes the events of its due times and moves it on, under the row's lock; the unique
index of (trigger, due time) prevents duplicates. An event is a leased job: one transaction, which only the current
owner of the event may commit, starts its run and links it to the event. So a node that dies leaves a due schedule, a
pending event, or a run.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfoNotFoundError

import structlog
from cronsim import CronSimError

from stoa.db import Database, Tx
from stoa.db.internal import internal, internal_statement
from stoa.db.leases import JobFailed, JobWorker, Superseded
from stoa.db.polls import Poll
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import AppError, RateLimited, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.leases import FIRING, FIRINGS_MAX, ClaimLimits, Places
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor
from stoa.triggers import rules, schedules, store, transforming
from stoa.triggers.ports import Actors, Runner
from stoa.triggers.schedules import Plan
from stoa.triggers.service import RUNS
from stoa.triggers.store import SQL
from stoa.triggers.types import CatchUp, EventStatus, Firing, Schedule, Source, Trigger, TriggerStatus

LOOKS_MAX: Final = 20
"""Schedules that one transaction processes."""
SWEEP_SECONDS: Final = 300.0
FULL: Final = timedelta(seconds=5)
"""How long a schedule that catches up waits for its pending events."""
_log = structlog.get_logger("stoa.triggers")


class TriggerWorker:
    """Runs between `start` and `stop`, which releases its events. The `JobKind` of firings."""

    def __init__(
        self, database: Database, runner: Runner, actors: Actors, ids: Ids, clock: Clock, node_id: UUID
    ) -> None:
        self._database = database
        self._runner = runner
        self._actors = actors
        self._ids = ids
        self._clock = clock
        self._node_id = node_id
        self._supervisor = Supervisor()
        self._worker = JobWorker[Firing]("event", self, FIRING, Places(FIRINGS_MAX), "triggers.claim")
        self._ended = Counter(
            "stoa_trigger_events",
            "Events of triggers that this node has ended; `code` is the error's where no run began.",
            ("status", "code"),
            [(EventStatus.ACCEPTED.value, "")],
        )

    def metrics(self) -> Sequence[Metric]:
        return [self._ended]

    @property
    def heartbeat(self) -> Heartbeat:
        return self._worker.heartbeat

    async def start(self) -> None:
        self._worker.start()
        self._supervisor.keep_every(SWEEP_SECONDS, self.sweep, "triggers.sweep")

    async def stop(self) -> None:
        await self._supervisor.stop()
        await self._worker.stop()

    def on_notification(self, _payload: str, _server_pid: int) -> None:
        """A notification of channel `stoa_triggers`: an event is pending."""
        self._worker.wake()

    def wake(self) -> None:
        self._worker.wake()

    async def sweep(self) -> None:
        """Removes old entries of the log."""
        before = self._clock.now() - rules.EVENTS_KEPT
        async with internal_statement(self._database) as tx:
            await tx.execute(SQL.prune, before, rules.PRUNED_MAX)

    # --- schedules --------------------------------------------------------------------------------------------------
    async def look(self) -> bool:
        """Processes due schedules. True if there may be more."""
        now = self._clock.now()
        more = False
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.due, now, LOOKS_MAX)
            for row in rows:
                try:
                    more |= await self._look(tx, store.trigger_of(row), row["missed"], row["missed_from"])
                except (CronSimError, ZoneInfoNotFoundError, ValueError, OSError) as error:
                    # It was checked when it was stored, and cannot be read here: a zone that this node lacks, or a
                    # word of a later version. It must not stop the others.
                    key = (row["org_id"], row["id"], row["actor_id"])
                    await self._stop(tx, key, "schedule_unusable", f"The schedule cannot be read: {error}.")
        return more or len(rows) == LOOKS_MAX

    async def _look(self, tx: Tx, trigger: Trigger, missed: int, missed_from: datetime | None) -> bool:
        schedule, now = trigger.config, self._clock.now()
        assert isinstance(schedule, Schedule), "only a schedule comes due"
        if trigger.next_at is None:
            plan = Plan([], [], None, complete=True)
        else:
            plan = schedules.plan(schedule, trigger.next_at, now)
        if schedule.catch_up is CatchUp.ALL and plan.fire:
            waiting = await tx.fetchval(SQL.events_waiting, trigger.org_id, trigger.id)
            if waiting >= rules.WAITING_MAX:
                state = (trigger.next_at, now + FULL, trigger.status.value, missed, missed_from)
                await tx.execute(SQL.advance, trigger.org_id, trigger.id, *state)
                return False
        for due in plan.fire:
            payload = schedules.payload(schedule, due)
            await store.insert_event(tx, trigger, self._ids.new(), Source.SCHEDULE, payload, now, due_at=due)
        if plan.missed:
            missed, missed_from = missed + len(plan.missed), missed_from or plan.missed[0]
        if plan.complete and missed_from is not None:
            await self._skipped(tx, trigger, missed, missed_from)
            missed, missed_from = 0, None
        ended = plan.next_at is None and (schedule.expires_at is None or schedule.expires_at <= now)
        status = TriggerStatus.EXPIRED if ended else trigger.status
        wake_at = None if ended else rules.wake_at(schedule, plan.next_at)
        state = (plan.next_at, wake_at, status.value, missed, missed_from)
        await tx.execute(SQL.advance, trigger.org_id, trigger.id, *state)
        return not plan.complete

    async def _skipped(self, tx: Tx, trigger: Trigger, missed: int, first: datetime) -> None:
        """One log entry for all missed due times."""
        now, skipped = self._clock.now(), EventStatus.SKIPPED
        payload = {"missed": missed, "first": rfc3339(first), "until": rfc3339(now)}
        await store.insert_event(
            tx, trigger, self._ids.new(), Source.SCHEDULE, payload, now, due_at=first, status=skipped
        )
        _log.info("due instants were missed", trigger_id=str(trigger.id), **payload)

    async def _stop(self, tx: Tx, key: tuple[UUID, UUID, UUID], code: str, message: str) -> None:
        """`key`: organization, trigger, actor."""
        org_id, trigger_id, actor_id = key
        await tx.execute(SQL.stop, org_id, trigger_id, {"code": code, "message": message}, actor_id)
        _log.warning("trigger stopped", trigger_id=str(trigger_id), code=code, reason=message)

    # --- a kind of leased job ---------------------------------------------------------------------------------------
    async def claim(self, wanted: ClaimLimits, held: Sequence[Firing], /) -> Sequence[Firing]:
        if await self.look():
            self._worker.wake()
        own = [firing.id for firing in held]
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(store.CLAIM, self._node_id, *wanted.arguments(), own, FIRING.seconds)
        return [store.firing_of(row) for row in rows]

    async def work(self, firing: Firing, /) -> None:
        if firing.archived:
            raise JobFailed("app_archived", f"The app {firing.app_id} is archived; it takes no runs until restored.")
        actor = firing.actor
        principal = await self._actors.acting(firing.org_id, firing.project_id, actor.id, actor.user, RUNS)
        if principal is None:
            whose = f"{'The user' if actor.user else 'The access key'} {actor.id}, in whose name this trigger ran,"
            message = f"{whose} may not run apps of this project any more; activate it again to run it in your name."
            async with internal(self._database) as tx:
                await self._stop(tx, (firing.org_id, firing.trigger_id, actor.id), "actor_revoked", message)
            raise JobFailed("actor_revoked", message)
        fields = await _fields(firing)
        metadata = {"trigger_id": str(firing.trigger_id), "trigger_event_id": str(firing.id)}

        async def settle(tx: Tx, run_id: UUID) -> None:
            if await tx.fetchval(SQL.accept, *store.fence(firing), run_id) is None:
                raise Superseded

        try:
            await self._runner.start(principal, firing.app_id, fields, metadata, settle)
        except Unavailable:
            raise
        except AppError as refusal:
            retryable = isinstance(refusal, RateLimited)
            raise JobFailed(refusal.code, refusal.message, retryable=retryable) from refusal
        self._ended.add(EventStatus.ACCEPTED.value, "")

    async def postpone(self, firing: Firing, failed: JobFailed, /) -> None:
        seconds = rules.backoff_seconds(firing.attempt)
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.postpone, *store.fence(firing), seconds, failed.as_json()) is None:
                raise Superseded

    async def fail(self, firing: Firing, failed: JobFailed, /) -> None:
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.fail, *store.fence(firing), failed.as_json()) is None:
                raise Superseded
        self._ended.add(EventStatus.FAILED.value, failed.code)

    async def give_back(self) -> None:
        async with internal_statement(self._database) as tx:
            await tx.execute(SQL.give_back, self._node_id)


async def _fields(firing: Firing) -> dict[str, object]:
    """The run's input. A transformer searches untrusted data, so it runs in a thread."""
    if firing.input_transformer is None:
        return dict(firing.payload)
    try:
        return await asyncio.to_thread(transforming.transformed, firing.input_transformer, firing.payload)
    except transforming.NoInput as error:
        raise JobFailed("input_transformer", str(error)) from error


def polls() -> Sequence[Poll]:
    return [
        Poll(
            "stoa_trigger_events_waiting",
            "Events of triggers whose runs have not begun, of all nodes together.",
            SQL.waiting_events,
            ("status",),
        )
    ]

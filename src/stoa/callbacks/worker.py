"""Sends callbacks: claims one under a lease, records an attempt, sends the POST, stores the outcome. Delivery is at
least once, always with the same id."""

import random
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import orjson
import structlog

from stoa.callbacks import rules, store
from stoa.callbacks.ports import Reports, Vault
from stoa.callbacks.service import Callbacks
from stoa.callbacks.store import SQL
from stoa.callbacks.types import Callback, CallbackStatus
from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.db.leases import JobFailed, JobWorker, Superseded, renewed
from stoa.db.polls import Poll
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import NotFound
from stoa.kernel.leases import CALLBACK, CALLBACKS_AT_ONCE_MAX, ClaimLimits, Places
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.supervise import Heartbeat
from stoa.outbound.posting import Post, Undelivered

_log = structlog.get_logger("stoa.callbacks")
_USER_AGENT: Final = "Stoa-Callbacks/1"


class CallbackWorker:
    """The `JobKind` of callbacks. Claims callbacks between `start` and `stop`; `stop` releases what it has claimed."""

    def __init__(
        self,
        database: Database,
        callbacks: Callbacks,
        reports: Reports,
        post: Post,
        vault: Vault,
        clock: Clock,
        node_id: UUID,
    ) -> None:
        self._database = database
        self._callbacks = callbacks
        self._reports = reports
        self._post = post
        self._vault = vault
        self._clock = clock
        self._node_id = node_id
        places = Places(CALLBACKS_AT_ONCE_MAX)
        self._worker = JobWorker[Callback]("callback", self, CALLBACK, places, "callbacks.claim")
        self._posted = Counter(
            "stoa_callbacks_posted",
            "Attempts to deliver a callback that this node has made; `outcome` is delivered, or the error's code.",
            ("outcome",),
            [("delivered",), ("refused",)],
        )

    def metrics(self) -> Sequence[Metric]:
        return [self._posted]

    @property
    def heartbeat(self) -> Heartbeat:
        return self._worker.heartbeat

    async def start(self) -> None:
        self._worker.start()

    async def stop(self) -> None:
        await self._worker.stop()

    def on_notification(self, _payload: str, _server_pid: int) -> None:
        """For channel `stoa_callbacks`: callbacks may be due."""
        self.wake()

    def wake(self) -> None:
        self._worker.wake()

    # --- the methods of a JobKind -----------------------------------------------------------------------------------
    async def claim(self, wanted: ClaimLimits, held: Sequence[Callback], /) -> Sequence[Callback]:
        own = [one.id for one in held]
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(store.CLAIM, self._node_id, *wanted.arguments(), own, CALLBACK.seconds)
        return [store.value(row) for row in rows]

    async def work(self, one: Callback, /) -> None:
        await renewed(self._deliver(one), lambda: self._renew(one), CALLBACK.renew_seconds)

    async def _renew(self, one: Callback) -> None:
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.beat, *store.fence(one), CALLBACK.seconds) is None:
                raise Superseded

    async def _deliver(self, one: Callback) -> None:
        headers, body = await self._message(one)
        async with internal_statement(self._database) as tx:
            number = await tx.fetchval(SQL.begin_attempt, *store.fence(one))
        if number is None:
            raise Superseded
        status: int | None = None
        try:
            posted = await self._post(one.url, headers, body)
        except Undelivered as error:
            failed = JobFailed(error.code, error.message, retryable=error.retryable)
        else:
            status = posted.status
            problem = rules.problem_of(status)
            if problem is None:
                await self._ended(one, number, status, None)
                return
            waits = rules.retry_after(posted.retry_after)
            failed = JobFailed("refused", problem, retryable=status != rules.GONE, retry_after_seconds=waits)
        await self._ended(one, number, status, failed)
        raise failed

    async def _ended(self, one: Callback, number: int, status: int | None, failed: JobFailed | None) -> None:
        """Stores the outcome of the attempt. On success the same transaction marks the callback as delivered."""
        error = None if failed is None else failed.as_json()
        self._posted.add("delivered" if failed is None else failed.code)
        async with internal(self._database) as tx:
            await tx.execute(SQL.end_attempt, one.org_id, one.id, number, status, error)
            if failed is None:
                settled = await tx.fetchval(SQL.settle, *store.fence(one), CallbackStatus.DELIVERED.value, None)
                if settled is None:
                    _log.info("callback was delivered under a lease that had ended", id=str(one.id))

    async def _message(self, one: Callback) -> tuple[dict[str, str], bytes]:
        """Headers and body. The body is the same for every attempt; the signature has the time of this attempt. Raises
        JobFailed."""
        report = await self._reports.report(one.org_id, one.run_id)
        if report is None:
            raise Superseded
        payload = {"type": report.type, "timestamp": rfc3339(report.timestamp), "data": report.data}
        if one.metadata is not None:
            payload["metadata"] = one.metadata
        body = orjson.dumps(payload)
        try:
            token = self._vault.open(one.id, one.auth) if one.auth is not None else None
            async with internal(self._database) as tx:
                secrets = await self._callbacks.secrets(tx, one.org_id, one.app_id)
        except NotFound as error:
            raise JobFailed("app_deleted", "The app is deleted, and with it what signs its callbacks.") from error
        except ValueError as error:
            raise JobFailed("secret_unreadable", f"{error}") from error
        timestamp = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            "webhook-id": one.webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": rules.signatures(secrets, one.webhook_id, timestamp, body),
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers, body

    async def postpone(self, one: Callback, failed: JobFailed, /) -> None:
        seconds = rules.wait_seconds(one.attempt, random.random(), failed.retry_after_seconds)  # noqa: S311 — no secret
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.postpone, *store.fence(one), seconds, failed.as_json()) is None:
                raise Superseded

    async def fail(self, one: Callback, failed: JobFailed, /) -> None:
        async with internal_statement(self._database) as tx:
            settled = await tx.fetchval(SQL.settle, *store.fence(one), CallbackStatus.FAILED.value, failed.as_json())
        if settled is None:
            raise Superseded
        _log.warning("callback given up", id=str(one.id), run_id=str(one.run_id), code=failed.code)

    async def give_back(self) -> None:
        async with internal(self._database) as tx:
            await tx.execute(SQL.give_back, self._node_id)


def polls() -> Sequence[Poll]:
    return [
        Poll(
            "stoa_callbacks_waiting",
            "Callbacks of runs that have ended, which no receiver has taken yet, of all nodes together.",
            SQL.unended,
            ("status",),
        )
    ]

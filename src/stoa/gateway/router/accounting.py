"""The gateway's side of the bill: what a limited key reserves before a call, and the lines of calls that have ended.

A node inserts its lines in groups, one statement per tick. A tick begins as soon as the previous one is done and lines
wait. The statement that inserts a line also replaces the call's reservation by its cost. Calls of a process that was
killed are inserted by the next process, which reads them from the file of the killed one (`open_calls`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import structlog

from stoa.db import Database, Unstorable
from stoa.db.internal import internal_statement
from stoa.gateway.ledger import SPENDING_PARTS, SQL
from stoa.gateway.router.errors import PriceUnknown, SpendingLimitReached
from stoa.gateway.router.open_calls import AbandonedFile, OpenCalls, Place, UnbilledCall, abandoned_files
from stoa.gateway.router.rules import usage_of_call
from stoa.gateway.router.types import Call, CallProgress, PriceOf
from stoa.gateway.types import Usage
from stoa.kernel.errors import DatabaseUnavailable
from stoa.kernel.metrics import FAST, Counter, Gauge, Histogram, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor, spread

LINES_PER_TICK_MAX: Final = 2_000
WAITING_MAX: Final = 50_000
"""Lines that wait while the database is not reachable. Above it new calls are refused; no line is dropped."""
RETRY_SECONDS: Final = 0.25
SWEEP_SECONDS: Final = 30.0
COMMIT_SECONDS_MAX: Final = 10.0
"""How long the end of an answer waits for the commit of its line. Then the answer ends, and the line is inserted when
the database is back."""
LATE_SECONDS: Final = 1.0
"""The interval between two checks for lines that have waited for too long."""
SETTLED: Final = 1 << 62
"""The group number of the calls of a killed process: after this group nothing more of that process is inserted."""
LineKind: TypeAlias = Literal["gateway", "cache"]
"""What a line is for: a call of a model, or a cached answer."""
_WHEN: Final = {"day": "today", "month": "this month", "total": "altogether"}
_log = structlog.get_logger("stoa.gateway")


@dataclass(slots=True)
class _Entry:
    """A line that is not committed yet. `done` becomes true after its commit, or false when the wait for it has timed
    out."""

    call_id: UUID
    values: dict[str, Any]
    done: asyncio.Future[bool]
    queued_at: float


class Accounts:
    """Long-lived: call `start` before use; `stop` inserts the lines that wait."""

    def __init__(
        self, database: Database, node_id: UUID, price: Callable[[str], PriceOf], records: Path | None = None
    ) -> None:
        """`price` returns a model's price, by its slug; `records` is the directory of the files of running calls."""
        self._database = database
        self._node_id = node_id
        self._price = price
        self._records = records
        self._calls = OpenCalls(records, node_id)
        self._supervisor = Supervisor()
        self._waiting: list[_Entry] = []
        self._groups: deque[list[_Entry]] = deque()
        """Groups that were taken from the waiting lines, and whose commit is not confirmed."""
        self._awake = asyncio.Event()
        self._late: asyncio.TimerHandle | None = None
        self._batch = 0
        self.heartbeat = Heartbeat("gateway.accounts")
        self._lines = Counter("stoa_gateway_lines", "Lines of the bill that calls of the gateway have made.")
        self._ticks = Histogram(
            "stoa_gateway_tick_seconds",
            "Ticks: one statement that enters the lines of all calls that have ended.",
            FAST,
        )

    def metrics(self) -> Sequence[Metric]:
        waiting = Gauge("stoa_gateway_lines_waiting", "Lines that are not committed yet.", lambda: float(self._open))
        return [self._lines, self._ticks, waiting]

    async def start(self) -> None:
        self._calls.open()
        self._supervisor.keep(self._forever, "gateway.accounts", self.heartbeat)
        self._supervisor.keep(self._sweep_forever, "gateway.reservations")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._late is not None:
            self._late.cancel()
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                while self._open:
                    await self._tick()
        except (DatabaseUnavailable, TimeoutError):
            _log.error("lines of the bill are late", lines=self._open)
            self._let_go(asyncio.get_running_loop().time())
        self._calls.close(keep=self._open > 0)

    @property
    def _open(self) -> int:
        return len(self._waiting) + sum(map(len, self._groups))

    @property
    def full(self) -> bool:
        return self._open >= WAITING_MAX

    # --- before a call ----------------------------------------------------------------------------------------------
    async def reserve(self, call: Call, usd: float | None) -> float | None:
        """Reserves the most that the call may cost, in place of its earlier reservation. Returns what the key may still
        spend; None for a key without a limit. Raises PriceUnknown, SpendingLimitReached."""
        if call.principal.spending_limit is None:
            return None
        if usd is None:
            raise PriceUnknown(
                f"This access key has a spending limit, and no price is known for {call.slug} or a model behind it;"
                " the operator can set one under [[prices]]."
            )
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(
                SQL.reserve,
                call.principal.org_id,
                call.project_id,
                call.principal.key_id,
                call.id,
                Decimal(f"{usd:.9f}"),
                self._node_id,
            )
        assert row is not None
        if row["limit_usd"] is None:  # The limit was lifted since this request was authenticated.
            return None
        left = max(row["limit_usd"] - row["spent_usd"], 0.0)
        if not row["granted"]:
            when = _WHEN[row["period"]]
            raise SpendingLimitReached(
                f"This access key may spend {row['limit_usd']:g} US dollars {when}; {left:.6f} are left, calls under"
                f" way set aside, and this call may cost {usd:.6f}. Send a smaller max_tokens, or raise the limit."
            )
        return left - usd

    def opened(self, call: Call) -> Place:
        """The place in the file where the call records its progress, for the next process if this one is killed."""
        return self._calls.take(call.id, {**self._about(call), "prompt_characters": call.prompt_characters})

    # --- after it ---------------------------------------------------------------------------------------------------
    def enter(
        self, call: Call, model: str, usage: Usage, cost_usd: float | None, kind: LineKind = "gateway"
    ) -> asyncio.Future[bool]:
        """Queues the line of a call that has ended; the future completes after its commit. Never waits, never fails."""
        place = self._calls.of(call.id)
        place.entered(model, usage, cost_usd)
        return self._queue(call.id, _line(place.about or self._about(call), model, usage, cost_usd, kind))

    def release(self, call: Call) -> asyncio.Future[bool] | None:
        """Releases the reservation of a call that no provider accepted; the future completes after the commit. None for
        a key without a limit."""
        if call.principal.spending_limit is None:
            self._calls.free(call.id)
            return None
        return self._queue(call.id, {**self._about(call), "billed": False})

    async def committed(self, entered: asyncio.Future[bool]) -> None:
        """Waits for the commit of a line, for COMMIT_SECONDS_MAX at most."""
        if not await entered:
            _log.warning("an answer ended before its line of the bill was committed", waiting=self._open)

    def _about(self, call: Call) -> dict[str, Any]:
        """The owner's columns of a line."""
        principal = call.principal
        return {
            "id": str(call.id),
            "org_id": str(principal.org_id),
            "project_id": str(call.project_id),
            "key_id": str(principal.key_id),
            "part": call.id.int % SPENDING_PARTS,
            "user_id": call.user,
        }

    def _queue(self, call_id: UUID, values: dict[str, Any]) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        entry = _Entry(call_id, values, loop.create_future(), loop.time())
        self._waiting.append(entry)
        self._awake.set()
        return entry.done

    # --- ticks ------------------------------------------------------------------------------------------------------
    async def _forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._awake.wait()
            self._awake.clear()
            self.heartbeat.begin()
            self._look_for_late_ones(COMMIT_SECONDS_MAX)
            while self._open:
                begun = loop.time()
                try:
                    await self._tick()
                except DatabaseUnavailable as error:
                    _log.warning("lines of the bill wait", lines=self._open, reason=error.message)
                    await asyncio.sleep(spread(RETRY_SECONDS))
                    continue
                self._ticks.observe(loop.time() - begun)
            self.heartbeat.done()
            if self._late is not None:
                self._late.cancel()

    def _look_for_late_ones(self, seconds: float) -> None:
        """One timer for all lines; it runs while there are any."""
        if self._late is not None:
            self._late.cancel()
        self._late = asyncio.get_running_loop().call_later(seconds, self._wait_no_longer)

    def _wait_no_longer(self) -> None:
        self._let_go(asyncio.get_running_loop().time() - COMMIT_SECONDS_MAX)
        self._look_for_late_ones(LATE_SECONDS)

    def _let_go(self, before: float) -> None:
        """Ends the wait of answers whose lines were queued until then; the lines stay queued."""
        for entry in (entry for group in (*self._groups, self._waiting) for entry in group):
            if entry.queued_at <= before and not entry.done.done():
                entry.done.set_result(False)

    async def _tick(self) -> None:
        """Inserts the oldest group. The group does not change until its commit is confirmed: it keeps its number, so
        that sending it again inserts it only once. Raises DatabaseUnavailable."""
        if not self._groups:
            group, self._waiting = self._waiting[:LINES_PER_TICK_MAX], self._waiting[LINES_PER_TICK_MAX:]
            self._groups.append(group)
        group = self._groups[0]
        for entry in group:
            self._calls.of(entry.call_id).sent(self._batch + 1)
        try:
            async with internal_statement(self._database) as tx:
                await tx.execute(SQL.enter_calls, self._node_id, self._batch + 1, [entry.values for entry in group])
        except Unstorable as error:
            self._groups.popleft()
            if len(group) > 1:  # One bad value costs its own line.
                self._groups.extendleft([entry] for entry in reversed(group))
                return
            _log.error("a line of the bill cannot be stored", line=str(group[0].values)[:2_000], reason=error.message)
        else:
            self._groups.popleft()
            self._batch += 1
            self._lines.add(by=sum(entry.values["billed"] for entry in group))
        for entry in group:
            self._calls.free(entry.call_id)
            if not entry.done.done():
                entry.done.set_result(True)

    # --- what others left -------------------------------------------------------------------------------------------
    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.settle_left_behind()
                await self.sweep()
            except DatabaseUnavailable:  # If both crashed, the database is back later than this server.
                await asyncio.sleep(spread(RETRY_SECONDS))
                continue
            await asyncio.sleep(spread(SWEEP_SECONDS))

    async def settle_left_behind(self) -> int:
        """Bills the calls of killed processes, which it reads from their files; returns their number."""
        count = 0
        for file in await asyncio.to_thread(abandoned_files, self._records):
            settled = False
            try:
                count += await self._settle_file(file)
                settled = True
            finally:
                await asyncio.to_thread(file.close, keep=not settled)
        if count:
            _log.warning("calls of a killed process were put on the bill", calls=count)
        return count

    async def _settle_file(self, file: AbandonedFile) -> int:
        """Uses one statement, so that a file that is read again after its reader died adds nothing."""
        async with internal_statement(self._database) as tx:
            entered = int(await tx.fetchval(SQL.batch_of, file.node_id) or 0)
        calls = [lost for lost in await asyncio.to_thread(file.calls) if not 0 < lost.batch <= entered]
        if not calls or entered >= SETTLED:
            return 0
        lines = [self._line_of(lost) for lost in calls]
        try:
            async with internal_statement(self._database) as tx:
                await tx.execute(SQL.enter_calls, file.node_id, SETTLED, lines)
        except Unstorable:  # One bad value costs its own line.
            for number, line in enumerate(lines, SETTLED + 1):
                await self._enter_alone(file.node_id, number, line)
        return len(lines)

    async def _enter_alone(self, node_id: UUID, number: int, line: Mapping[str, Any]) -> None:
        try:
            async with internal_statement(self._database) as tx:
                await tx.execute(SQL.enter_calls, node_id, number, [line])
        except Unstorable as error:
            _log.error("a line of the bill cannot be stored", line=str(line)[:2_000], reason=error.message)

    def _line_of(self, lost: UnbilledCall) -> dict[str, Any]:
        if lost.model is None:
            return {**lost.about, "billed": False}
        progress = CallProgress(usage=lost.usage, characters=lost.characters, prompt=lost.prompt)
        usage = usage_of_call(lost.about["prompt_characters"], progress)
        cost = lost.cost_usd if lost.priced else self._price(lost.model)(usage)
        return _line(lost.about, lost.model, usage, cost, "gateway")

    async def sweep(self) -> int:
        """Releases the reservations of dead nodes' calls; returns the number of calls."""
        async with internal_statement(self._database) as tx:
            count = int(await tx.fetchval(SQL.release_abandoned))
            await tx.execute(SQL.forget_batches)
        if count:
            _log.warning("calls of a lost node were released", calls=count)
        return count


def _line(about: Mapping[str, Any], model: str, usage: Usage, cost_usd: float | None, kind: LineKind) -> dict[str, Any]:
    return {
        **about,
        "kind": kind,
        "model": model,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
        "cost_usd": None if cost_usd is None else f"{cost_usd:.9f}",
        "billed": True,
    }

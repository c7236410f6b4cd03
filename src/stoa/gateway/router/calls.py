"""Calls of the gateway, from the slug to the line of the bill.

The first target that begins to answer answers the call. A failure before the first byte is retried and falls back to
the next target. After the first byte nothing is retried, so two answers are never joined.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from stoa.gateway.router import rules
from stoa.gateway.router.accounting import Accounts
from stoa.gateway.router.breaker import Breakers, CircuitState
from stoa.gateway.router.errors import refusal_of
from stoa.gateway.router.types import Call, CallProgress, PriceOf, Target
from stoa.gateway.types import ModelError
from stoa.kernel.clock import Clock
from stoa.kernel.errors import AppError, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.metrics import SLOW, Counter, Gauge, Histogram, Metric
from stoa.kernel.principal import Principal

HOMES_MAX: Final = 10_000
HOME_SECONDS: Final = 30.0
"""How long the home project of an organization-wide key is cached."""
_log = structlog.get_logger("stoa.gateway")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one target. `progress` is its result so far; `stack` closes what it opens."""

    target: Target
    progress: CallProgress
    stack: AsyncExitStack


Begin = Callable[[Attempt], Awaitable[T]]
"""Calls a target and returns at the first byte of its answer. Raises ModelError."""


class Projects(Protocol):
    async def home(self, principal: Principal) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Begun(Generic[T]):
    """A call that is being answered. `remaining_usd` is what its key may spend beyond the call's reservation."""

    call: Call
    target: Target
    opened: T
    progress: CallProgress
    stack: AsyncExitStack
    reserved_usd: float = 0.0
    remaining_usd: float | None = None


@dataclass(slots=True)
class _Reserved:
    usd: float = 0.0
    remaining_usd: float | None = None


@dataclass(slots=True)
class Calls:
    """Long-lived: opens calls and settles them."""

    accounts: Accounts
    breakers: Breakers
    projects: Projects
    ids: Ids
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draining: bool = False
    open: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no call is running."""
    _homes: dict[UUID, tuple[float, UUID]] = field(default_factory=dict[UUID, tuple[float, UUID]])
    _outcomes: Counter = field(
        default_factory=lambda: Counter(
            "stoa_gateway_calls", "Calls of the gateway that have ended, by their outcome.", ("outcome",)
        )
    )
    _fallbacks: Counter = field(
        default_factory=lambda: Counter(
            "stoa_gateway_attempts_failed",
            "Times that a provider did not begin to answer a call of the gateway, by our code for it.",
            ("code",),
        )
    )
    _first_byte: Histogram = field(
        default_factory=lambda: Histogram(
            "stoa_gateway_first_byte_seconds", "From a call's acceptance to the first byte of its provider.", SLOW
        )
    )

    def __post_init__(self) -> None:
        self.idle.set()

    def _count(self, step: int) -> None:
        self.open += step
        if self.open:
            self.idle.clear()
        else:
            self.idle.set()

    def metrics(self) -> Sequence[Metric]:
        def circuits() -> dict[tuple[str, ...], float]:
            states = list(self.breakers.states().values())
            return {(state.value,): float(states.count(state)) for state in (CircuitState.OPEN, CircuitState.HALF_OPEN)}

        return [
            self._outcomes,
            self._fallbacks,
            self._first_byte,
            Gauge("stoa_gateway_calls_open", "Calls of the gateway under way.", lambda: self.open),
            Gauge(
                "stoa_gateway_circuits", "Providers that the gateway leaves alone for now.", circuits, ("state",), "max"
            ),
        ]

    async def new(self, principal: Principal, slug: str, fields: dict[str, object]) -> Call:
        """Raises Unavailable while the server drains, or while too many bill lines wait."""
        if self.draining:
            raise Unavailable("This server is restarting.", retry_after_seconds=2)
        if self.accounts.full:
            raise Unavailable("The bill cannot be written just now; try again in a moment.", retry_after_seconds=5)
        return Call(
            self.ids.new(), principal, await self.home(principal), slug, fields, rules.prompt_characters(fields)
        )

    async def home(self, principal: Principal) -> UUID:
        """The project that a call is billed to."""
        if principal.project_id is not None:
            return principal.project_id
        now = self.clock.monotonic()
        known = self._homes.get(principal.org_id)
        if known is None or now - known[0] > HOME_SECONDS:
            if len(self._homes) >= HOMES_MAX:
                self._homes.clear()
            known = self._homes[principal.org_id] = (now, await self.projects.home(principal))
        return known[1]

    # --- beginning --------------------------------------------------------------------------------------------------
    async def begin(
        self, call: Call, targets: Sequence[Target], begin: Begin[T], *, completion_tokens: int | None = None
    ) -> Begun[T]:
        """The first target that begins to answer. Raises the refusal of the last target that was called; Unavailable if
        the circuits of all providers are open. After any exception nothing stays reserved or open."""
        self._count(1)
        begun_at = self.clock.monotonic()
        try:
            begun = await self._first(call, targets, begin, completion_tokens)
        except BaseException as error:
            self._count(-1)
            self._outcomes.add("refused" if isinstance(error, AppError) else "interrupted")
            raise
        self._first_byte.observe(self.clock.monotonic() - begun_at)
        return begun

    async def _first(
        self, call: Call, targets: Sequence[Target], begin: Begin[T], completion_tokens: int | None
    ) -> Begun[T]:
        failure: ModelError | None = None
        asked: Target | None = None
        progress = CallProgress()
        place = self.accounts.opened(call)
        try:
            for index, target in enumerate(targets):
                if not self.breakers.admit(target.circuit):
                    continue
                try:
                    reserved = await self._reserve(call, targets[index:], completion_tokens)
                except BaseException:
                    self.breakers.left(target.circuit)
                    raise
                asked, progress = target, CallProgress(place=place)
                last = index == len(targets) - 1
                begun = await self._attempts(call, target, begin, progress, reserved, last=last)
                if isinstance(begun, Begun):
                    return begun
                failure = begun
                if not rules.falls_back(failure):
                    break
        except asyncio.CancelledError:
            if asked is not None:  # The provider was working, so what it will bill is not known.
                self._enter(call, asked, progress)
            else:
                self.accounts.release(call)
            raise
        except BaseException:
            await self._release(call)
            raise
        await self._release(call)
        if failure is not None:
            raise refusal_of(failure)
        seconds = min(self.breakers.seconds_left(target.circuit) for target in targets)
        message = f"Every provider of {call.slug} has failed repeatedly and is left alone for a moment."
        raise Unavailable(message, retry_after_seconds=max(int(seconds), 1))

    async def _release(self, call: Call) -> None:
        """Waits for the commit, so that the caller's next request finds the reservation released."""
        if (released := self.accounts.release(call)) is not None:
            await self.accounts.committed(released)

    async def _reserve(self, call: Call, targets: Sequence[Target], completion_tokens: int | None) -> _Reserved:
        """Reserves for the most expensive target that may still be called."""
        if call.principal.spending_limit is None:
            return _Reserved()
        prices: list[PriceOf] = [target.price for target in targets]
        if completion_tokens is None:
            limits = [target.model.abilities.output_tokens_max for target in targets]
            known = [limit for limit in limits if limit is not None]
            tokens = rules.completion_tokens_max(call.fields, max(known) if len(known) == len(limits) else None)
        else:
            tokens = completion_tokens
        usd = rules.dearest_usd(call.prompt_characters, tokens, prices)
        remaining = await self.accounts.reserve(call, usd)
        return _Reserved(usd or 0.0, remaining)

    async def _attempts(
        self, call: Call, target: Target, begin: Begin[T], progress: CallProgress, reserved: _Reserved, *, last: bool
    ) -> Begun[T] | ModelError:
        """Calls one target: once if another target follows, else again while the failure may be temporary."""
        attempt = 0
        while True:
            stack = AsyncExitStack()
            progress.place.asked(target.slug)
            try:
                opened = await begin(Attempt(target, progress, stack))
            except ModelError as error:
                await stack.aclose()
                if not progress.began:
                    progress.place.failed()
                self.breakers.failed(target.circuit, error)
                self._fallbacks.add(error.code)
                if progress.began:  # The provider bills for what it began; a retry would be billed too.
                    await self.accounts.committed(self._enter(call, target, progress)[1])
                    raise refusal_of(error) from error
                wait = rules.wait_seconds(error, attempt) if last else None
                if wait is None or not self.breakers.admit(target.circuit):
                    return error
                await self.sleep(wait)
                attempt += 1
            except BaseException:
                self.breakers.left(target.circuit)
                await stack.aclose()
                raise
            else:
                self.breakers.succeeded(target.circuit)
                return Begun(call, target, opened, progress, stack, reserved.usd, reserved.remaining_usd)

    # --- ending -----------------------------------------------------------------------------------------------------
    def settle(self, begun: Begun[T], outcome: str, failure: ModelError | None = None) -> "Bill":
        """Bills the call: with the provider's count, or an estimate of what was received. Never waits."""
        self._count(-1)
        self._outcomes.add(outcome)
        if failure is not None:
            self.breakers.failed(begun.target.circuit, failure)
        cost, entered = self._enter(begun.call, begun.target, begun.progress)
        remaining = begun.remaining_usd
        if remaining is not None:
            remaining = max(remaining + begun.reserved_usd - (cost or 0.0), 0.0)
        return Bill(cost, remaining, entered)

    def _enter(self, call: Call, target: Target, progress: CallProgress) -> tuple[float | None, asyncio.Future[bool]]:
        usage = rules.usage_of_call(call.prompt_characters, progress)
        cost = target.price(usage)
        return cost, self.accounts.enter(call, target.slug, usage, cost)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call cost (if its price is known), what its key may still spend, and the commit of its line."""

    cost_usd: float | None
    remaining_usd: float | None
    entered: asyncio.Future[bool]

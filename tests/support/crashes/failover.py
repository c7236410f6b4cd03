"""The campaign on two PostgreSQL servers: the primary is killed, partitioned while it lives on, or switched over as
planned, in the middle of streams. Readiness is checked meanwhile."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import httpx

from tests.support.crashes.campaign import Field
from tests.support.crashes.client import Client
from tests.support.nodes import Node
from tests.support.postgres_pairs import Pair

FAILOVERS: Final = {"primary_killed": 1, "primary_cut_off": 1, "switchover": 1}
NODES: Final = 2
READY_SECONDS_MAX: Final = 90.0
STREAMS_SECONDS_MAX: Final = 180.0
START_SECONDS_MAX: Final = 600.0
"""Clients must have their first event within this time, on any machine."""
STARTING_MAX: Final = 10
"""The limit of clients that wait for their first event: with more, answers come after clients have given up."""
QUIET: Final = "without a fault"
PACE_SECONDS: Final = 1.0
"""A client has its next event within this time, on a machine that can carry the campaign."""
BUDGET_SECONDS: Final = 5.0
"""The limit of what a failover adds to the wait for the next event, at the 99th percentile."""


class SlowClient(Client):
    """Its answers take seconds, so that most of them overlap a failover."""

    delays = (0.1, 0.2)

    async def live(self) -> None:
        """Clients start one after another: starting together would delay all of them."""
        assert isinstance(self._field, FailoverField)
        await self._field.turn(self._number)
        await super().live()


class FailoverField(Field):
    """Every node has the URLs of both servers, and reaches each through a proxy that can be blocked."""

    kind_of_client = SlowClient

    streams_min = 10
    """So many clients have had events just before each failover."""

    async def _open_database(self) -> list[str]:
        self.pair = await self._stack.enter_async_context(Pair(self.home.with_name(f"{self.home.name}-servers")))
        self._awaited: set[int] = set()
        """Clients whose next event is the first since the failover."""
        self._following: set[int] = set()
        self._begun: set[int] = set()
        """Clients that have had an event at all."""
        self._more = asyncio.Condition()
        self._slowness = 1.0
        self._kind, self._writes_since, self._again = "", 0.0, asyncio.Event()
        return [self.pair.dsn()] * NODES

    @property
    def _dsn(self) -> str:
        return self.pair.primary.dsn("stoa")

    # --- what is measured -------------------------------------------------------------------------------------------
    async def turn(self, client: int) -> None:
        """Waits until few earlier clients wait for their first event."""
        async with self._more:
            await self._more.wait_for(lambda: client < len(self._begun) + STARTING_MAX)

    def progress(self, client: int) -> None:
        self._following.add(client)
        if client not in self._begun:
            self._begun.add(client)
            self._telling = asyncio.create_task(self._tell())
        if client in self._awaited:
            self._awaited.discard(client)
            self._wait(self._kind, self._writes_since)
            if not self._awaited:
                self._again.set()

    async def _tell(self) -> None:
        async with self._more:
            self._more.notify_all()

    async def _streaming(self) -> None:
        """Waits until streams are running, and measures the wait for the next event without a fault. Other load on the
        machine makes it longer, and the bounds of this campaign with it."""
        async with asyncio.timeout(START_SECONDS_MAX):
            while len(self._begun) < self.streams_min:
                await asyncio.sleep(0.02)
        self._following.clear()
        async with asyncio.timeout(STREAMS_SECONDS_MAX * self._slowness):
            while len(self._following) < self.streams_min:
                await asyncio.sleep(0.02)
        await self._next_events(QUIET, time.monotonic(), STREAMS_SECONDS_MAX * self._slowness)
        waited = sorted(self.report.resumed_seconds[QUIET])
        self._slowness = max(1.0, waited[len(waited) // 2] / PACE_SECONDS)

    async def _next_events(self, kind: str, since: float, seconds_max: float) -> None:
        """Waits until every streaming client has had an event since that moment."""
        self._kind, self._writes_since = kind, since
        self._awaited = set(self._following)
        self._again.clear()
        async with asyncio.timeout(seconds_max):
            await self._again.wait()

    async def _through(self, kind: str, failover: Coroutine[Any, Any, None]) -> None:
        """Waits for the end of the failover, then until every stream continues and every node is ready."""
        await failover
        since = time.monotonic()
        nodes = asyncio.gather(*(ready(node, 200, READY_SECONDS_MAX * self._slowness) for node in self.nodes))
        nodes.add_done_callback(lambda _: self._wait(f"{kind}: ready", since))
        await asyncio.gather(nodes, self._next_events(kind, since, STREAMS_SECONDS_MAX * self._slowness))

    def _wait(self, kind: str, since: float) -> None:
        self.report.resumed_seconds.setdefault(kind, []).append(time.monotonic() - since)

    # --- faults -----------------------------------------------------------------------------------------------------
    async def _primary_killed(self) -> None:
        await self._streaming()
        self.pair.primary.kill()
        await self._through("primary_killed", self.pair.promote())
        await self.pair.attach()

    async def _primary_cut_off(self) -> None:
        """It runs, but nothing reaches it or comes from it; no connection is closed. The partition ends before it is
        stopped."""
        await self._streaming()
        self.pair.primary.way.block()
        await asyncio.gather(*(ready(node, 503, READY_SECONDS_MAX * self._slowness) for node in self.nodes))
        await self._through("primary_cut_off", self.pair.promote())
        self.pair.standby.way.open()
        await asyncio.sleep(self.dice.uniform(0, 1))  # Two servers accept writes, and only one of them commits.
        self.pair.standby.kill()
        await self.pair.attach()

    async def _switchover(self) -> None:
        await self._streaming()
        await self._through("switchover", self.pair.switch_over())


def late(resumed_seconds: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
    """By kind of failover, by how many seconds the budget is exceeded: the 99th percentile of waits for the next event,
    minus that without a fault, minus `BUDGET_SECONDS`."""

    def worst(kind: str) -> float:
        waited = sorted(resumed_seconds[kind])
        return waited[min(len(waited) - 1, int(len(waited) * 0.99))]

    over = {kind: worst(kind) - worst(QUIET) - BUDGET_SECONDS for kind in FAILOVERS if kind in resumed_seconds}
    return {kind: round(seconds, 2) for kind, seconds in over.items() if seconds > 0}


async def ready(node: Node, status: int, seconds_max: float) -> None:
    async with asyncio.timeout(seconds_max):
        while True:
            with suppress(httpx.TransportError):
                async with node.client(10) as http:
                    if (await http.get("/ready")).status_code == status:
                        return
            await asyncio.sleep(0.05)

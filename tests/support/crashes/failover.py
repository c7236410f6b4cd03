"""The campaign on two PostgreSQL servers: the primary is killed, cut off from everybody while it lives on, or switched
over as planned, in the middle of streams; and what readiness says meanwhile."""

import asyncio
import time
from collections.abc import Coroutine
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


class SlowClient(Client):
    """Its answers take seconds, so that a failover meets most of them."""

    delays = (0.1, 0.2)


class FailoverField(Field):
    """Every node is told of both servers, and comes to each by a way that can be blocked."""

    kind_of_client = SlowClient

    streams_min = 10
    """So many clients have had events just before each failover."""

    async def _open_database(self) -> list[str]:
        self.pair = await self._stack.enter_async_context(Pair(self.home.with_name(f"{self.home.name}-servers")))
        self._awaited: set[int] = set()
        """Clients whose next event is the first since the failover."""
        self._following: set[int] = set()
        self._kind, self._writes_since, self._again = "", 0.0, asyncio.Event()
        return [self.pair.dsn()] * NODES

    @property
    def _dsn(self) -> str:
        return self.pair.primary.dsn("stoa")

    # --- what is measured -------------------------------------------------------------------------------------------
    def progress(self, client: int) -> None:
        self._following.add(client)
        if client in self._awaited:
            self._awaited.discard(client)
            self.report.resumed_seconds.setdefault(self._kind, []).append(time.monotonic() - self._writes_since)
            if not self._awaited:
                self._again.set()

    async def _streaming(self) -> None:
        """Until streams are under way."""
        self._following.clear()
        async with asyncio.timeout(STREAMS_SECONDS_MAX):
            while len(self._following) < self.streams_min:
                await asyncio.sleep(0.02)

    async def _through(self, kind: str, failover: Coroutine[Any, Any, None]) -> None:
        """Waits for the end of the failover, then until every stream goes on and every node says that it is ready."""
        await failover
        self._kind, self._writes_since = kind, time.monotonic()
        self._awaited = set(self._following)
        self._again.clear()
        await asyncio.gather(*(ready(node, 200) for node in self.nodes))
        self.report.resumed_seconds.setdefault(f"{kind}: ready", []).append(time.monotonic() - self._writes_since)
        async with asyncio.timeout(STREAMS_SECONDS_MAX):
            await self._again.wait()
        self._awaited = set()

    # --- faults -----------------------------------------------------------------------------------------------------
    async def _primary_killed(self) -> None:
        await self._streaming()
        self.pair.primary.kill()
        await self._through("primary_killed", self.pair.promote())
        await self.pair.attach()

    async def _primary_cut_off(self) -> None:
        """It lives, and nothing reaches it or comes from it; no connection is closed. It is back before it is
        stopped."""
        await self._streaming()
        self.pair.primary.way.block()
        await asyncio.gather(*(ready(node, 503) for node in self.nodes))
        await self._through("primary_cut_off", self.pair.promote())
        self.pair.standby.way.open()
        await asyncio.sleep(self.dice.uniform(0, 1))  # Two servers take writes, and only one of them commits.
        self.pair.standby.kill()
        await self.pair.attach()

    async def _switchover(self) -> None:
        await self._streaming()
        await self._through("switchover", self.pair.switch_over())


async def ready(node: Node, status: int) -> None:
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            with suppress(httpx.TransportError):
                async with node.client(10) as http:
                    if (await http.get("/ready")).status_code == status:
                        return
            await asyncio.sleep(0.05)

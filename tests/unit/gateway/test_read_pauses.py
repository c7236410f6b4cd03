"""Connections that rest between two reads: all wake again, and none before its time."""

import asyncio

from stoa.gateway.providers.read_pauses import PAUSE_SLACK_SECONDS, ReadPauses


class Connection:
    def __init__(self, *, willing: bool = True) -> None:
        self.willing = willing
        self.rested = asyncio.Event()
        self.since = 0.0
        self.until = 0.0

    def pause(self) -> bool:
        self.since = asyncio.get_running_loop().time()
        return self.willing

    def resume(self) -> None:
        self.until = asyncio.get_running_loop().time()
        self.rested.set()


async def test_every_rest_ends_and_lasts_its_time() -> None:
    pauses, connections = ReadPauses(lambda: 0.03), [Connection() for _ in range(50)]
    for connection in connections:
        pauses.begin(connection)  # type: ignore[arg-type]
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        await asyncio.gather(*(connection.rested.wait() for connection in connections))
    assert all(one.until - one.since >= 0.03 - 2 * PAUSE_SLACK_SECONDS for one in connections)


async def test_without_load_nothing_rests() -> None:
    connection = Connection()
    ReadPauses(lambda: 0.0).begin(connection)  # type: ignore[arg-type]
    assert connection.since == 0.0


async def test_a_connection_that_cannot_pause_is_not_paused() -> None:
    pauses, refusing, willing = ReadPauses(lambda: 0.01), Connection(willing=False), Connection()
    for connection in (refusing, willing):
        pauses.begin(connection)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await willing.rested.wait()
    assert not refusing.rested.is_set()

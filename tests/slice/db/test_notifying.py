"""Notifications go out after the commit, a few transactions for many, and over a new connection when one is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import pytest

from stoa.db import Database, Raised, notifying
from stoa.db.internal import internal, internal_statement


@dataclass
class Heard:
    """What a session that listens has heard, and of whom."""

    connection: asyncpg.Connection
    said: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, channel: str) -> None:
        def hear(_: object, pid: int, __: str, payload: object) -> None:
            self.said.append((pid, str(payload)))
            self.changed.set()

        await self.connection.add_listener(channel, hear)

    @property
    def payloads(self) -> list[str]:
        return [payload for _, payload in self.said]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(dsn, connections_max=2)
    yield opened
    await opened.close()


@pytest.fixture
async def heard(dsn: str) -> AsyncIterator[Heard]:
    connection = await asyncpg.connect(dsn)
    one = Heard(connection)
    await one.listen("news")
    yield one
    await connection.close()


async def test_a_notification_is_sent_after_the_commit_only(database: Database, heard: Heard) -> None:
    async with internal(database) as tx:
        tx.notify("news", "committed")
        await tx.execute("SELECT 1")
        assert not heard.said
    with suppress(ZeroDivisionError):
        async with internal(database) as tx:
            tx.notify("news", "rolled back")
            raise ZeroDivisionError
    with suppress(Raised):
        async with internal_statement(database) as tx:
            tx.notify("news", "refused")
            await tx.execute("DO $$ BEGIN RAISE EXCEPTION 'no'; END $$")
    async with internal_statement(database) as tx:  # On the connection of the two before.
        await tx.execute("SELECT 1")
    async with internal_statement(database) as tx:
        tx.notify("news", "a statement")
        await tx.execute("SELECT 1")
    await heard.until(lambda: "a statement" in heard.payloads)
    assert heard.payloads == ["committed", "a statement"]


async def test_many_notifications_share_few_transactions(
    database: Database, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And equal ones are one. Ids are joined into payloads that PostgreSQL takes."""
    at_once: list[int] = [0, 0]
    batches: list[int] = []
    send = notifying.Notifier._send

    async def counted(self: notifying.Notifier, batch: list[tuple[str, str]]) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        batches.append(len(batch))
        try:
            await send(self, batch)
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(notifying.Notifier, "_send", counted)
    ids = [f"{number:032x}" for number in range(1_000)]
    for number in range(1_000):
        database.notifier.send([("news", f"plain {number % 3}")])
        database.notifier.send_ids("news", [ids[number]])
        if number == 500:
            await heard.until(lambda: bool(heard.said))
    await heard.until(lambda: sum(len(payload) // 32 for payload in heard.payloads if "plain" not in payload) == 1_000)
    assert (at_once[1], len(batches)) == (1, 2)
    assert max(map(len, heard.payloads)) < 8_000
    named = "".join(payload for payload in heard.payloads if "plain" not in payload)
    assert [named[start : start + 32] for start in range(0, len(named), 32)] == ids
    assert {pid for pid, _ in heard.said} == {database.notifier.server_pid}


async def test_a_lost_connection_loses_none_of_them(database: Database, heard: Heard) -> None:
    database.notifier.send([("news", "before")])
    await heard.until(lambda: heard.payloads == ["before"])
    await heard.connection.execute("SELECT pg_terminate_backend($1)", database.notifier.server_pid)
    database.notifier.send([("news", "after")])
    await heard.until(lambda: "after" in heard.payloads)
    database.notifier.reconnect(None)
    database.notifier.send([("news", "last")])
    await heard.until(lambda: "last" in heard.payloads)


async def test_pending_notifications_are_sent_at_the_end(dsn: str, heard: Heard) -> None:
    """A node that gives its runs back wakes the others, and ends at once."""
    database = await Database.open(dsn, connections_max=1)
    database.notifier.send([("news", "goodbye")])
    await database.close()
    await heard.until(lambda: heard.payloads == ["goodbye"])


async def test_while_the_database_is_away_what_waits_is_bounded_and_the_end_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away() -> notifying.Connection:
        raise ConnectionRefusedError

    monkeypatch.setattr(notifying, "CLOSE_SECONDS_MAX", 0.05)
    monkeypatch.setattr(notifying, "WAITING_MAX", 10)
    notifier = notifying.Notifier(away)
    notifier.send(("news", str(number)) for number in range(1_000))
    async with asyncio.timeout(5):
        await notifier.close()
    assert list(notifier._waiting) == [("news", str(number)) for number in range(990, 1_000)]

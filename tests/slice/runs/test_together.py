"""Runs that begin or end at the same moment do so in one transaction, and none of them notices."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from stoa.gateway import Finish, TextDelta, Usage
from stoa.kernel.joining import Joined
from tests.conftest import Running
from tests.support.doubles import until

WORDS = [TextDelta("Hello."), Usage(3, 1), Finish("stop")]


async def conversations(running: Running, count: int) -> list[str]:
    return [await running.conversation() for _ in range(count)]


async def send_all(running: Running, talks: Sequence[str]) -> list[Any]:
    """A message to each, at the same moment; the answers."""
    body = {"content": "Hi", "stream": False}
    sent = [running.client.post(f"/v3/conversations/{talk}/messages", json=body) for talk in talks]
    async with asyncio.timeout(60):
        return list(await asyncio.gather(*sent))


def together(monkeypatch: pytest.MonkeyPatch, count: int, name: str = "of runs") -> None:
    """Starts and ends wait until so many have come: that they are together is no matter of luck."""
    plain = Joined._schedule
    complete: set[str] = set()

    def when_complete(self: Joined[Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        """Once they have come, everything is as ever."""
        if len(self._waiting) >= count:
            complete.add(self._name)
        if not self._name.endswith(name) or self._name in complete:
            plain(self, loop)

    monkeypatch.setattr(Joined, "_schedule", when_complete)
    monkeypatch.setattr(Joined, "idle", False)


async def rows(running: Running, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(running.dsn)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def test_grouped_starts_and_ends_equal_separate_ones(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = await running.ask(await running.conversation())
    talks = await conversations(running, 5)
    together(monkeypatch, 5)
    answers = await send_all(running, talks)
    assert [answer.status_code for answer in answers] == [200] * 5
    runs = [answer.json()["data"] for answer in answers]
    assert [run["conversation_id"] for run in runs] == talks
    found = await rows(
        running,
        "SELECT r.xmin::text AS ended, m.xmin::text AS begun FROM runs r JOIN messages m ON m.run_id = r.id"
        " AND m.role = 'user' WHERE r.id = ANY ($1::uuid[])",
        [run["id"] for run in runs],
    )
    assert len(found) == 5
    assert len({row["begun"] for row in found}) == len({row["ended"] for row in found}) == 1
    for run in runs:
        assert run.keys() == alone.keys()
        assert (run["output"], run["usage"]) == (alone["output"], alone["usage"])
        events, others = await running.events(run["id"]), await running.events(alone["id"])
        assert [(one["type"], one["sequence"]) for one in events] == [(one["type"], one["sequence"]) for one in others]
    billed = await rows(running, "SELECT run_id FROM model_calls")
    assert {str(row["run_id"]) for row in billed} == {run["id"] for run in (*runs, alone)}
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_a_refused_start_does_not_affect_the_others(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[gate, WORDS], [WORDS]]
    busy, *free = await conversations(running, 3)
    path = f"/v3/conversations/{busy}/messages"
    run = (await running.call("POST", path, 202, json={"content": "Hi", "background": True}))["data"]["id"]
    await until(lambda: running.model.requests)
    together(monkeypatch, 4, "starts of runs")
    answers = await send_all(running, [busy, free[0], "00000000-0000-7000-8000-00000000dead", free[1]])
    assert [answer.status_code for answer in answers] == [409, 200, 404, 200]
    monkeypatch.undo()
    gate.set()
    await running.status(run, "completed")
    (counted,) = await rows(running, "SELECT message_count FROM conversations WHERE id = $1", busy)
    assert counted["message_count"] == 2
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_a_locked_conversation_does_not_delay_the_others(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = await conversations(running, 3)
    together(monkeypatch, 3, "starts of runs")
    connection = await asyncpg.connect(running.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM conversations WHERE id = $1 FOR UPDATE", talks[0])
            body = {"content": "Hi", "stream": False}
            sent = [
                asyncio.create_task(running.client.post(f"/v3/conversations/{talk}/messages", json=body))
                for talk in talks
            ]
            async with asyncio.timeout(60):
                assert [(await one).status_code for one in sent[1:]] == [200, 200]
            assert not sent[0].done()
    finally:
        await connection.close()
    async with asyncio.timeout(60):
        assert (await sent[0]).status_code == 200


async def test_an_end_that_fails_does_not_affect_the_other_ends(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is fenced off, and one has a queue behind it."""
    gates = [asyncio.Event() for _ in range(3)]
    # The first says nothing: no tick may notice before its end that it is fenced off.
    running.model.scripts = [[gates[0], WORDS[1:]], [gates[1], WORDS], [gates[2], WORDS], [WORDS]]
    talks = await conversations(running, 3)
    ids: list[str] = []
    for place, talk in enumerate(talks):
        body = {"content": "Hi", "background": True}
        ids.append((await running.call("POST", f"/v3/conversations/{talk}/messages", 202, json=body))["data"]["id"])
        await until(lambda place=place: len(running.model.requests) > place)
    fields = {"content": "And?", "background": True, "on_busy": "queue"}
    next_one = (await running.call("POST", f"/v3/conversations/{talks[1]}/messages", 202, json=fields))["data"]["id"]
    await rows(running, "UPDATE journals SET epoch = epoch + 1 WHERE run_id = $1", ids[0])
    with monkeypatch.context() as patched:
        together(patched, 3, "ends of runs")
        for gate in gates:
            gate.set()
        for run in ids[1:]:
            assert (await running.status(run, "completed"))["output"] == "Hello."
    assert (await running.status(next_one, "completed"))["output"]
    taken = await running.status(ids[0], "completed")
    assert (taken["attempt"], taken["output"] != "") == (2, True)
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]

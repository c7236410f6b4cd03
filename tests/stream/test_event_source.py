"""A browser's EventSource: it asks the URL that it was given again and again, with Last-Event-ID, until it gets a
204."""

import asyncio
from typing import Any

import pytest

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import Running


async def stream(reset_server: Running, run_id: str, query: str = "", last: str | None = None) -> tuple[int, list[int]]:
    """The status, and the sequences that came."""
    headers = {} if last is None else {"Last-Event-ID": last}
    response = await reset_server.client.get(f"/v1/runs/{run_id}/stream{query}", headers=headers)
    return response.status_code, [int(line[4:]) for line in response.text.splitlines() if line.startswith("id: ")]


async def test_the_larger_cursor_counts_and_the_end_is_204(reset_server: Running) -> None:
    run_id = (await reset_server.ask(await reset_server.conversation()))["id"]
    last = len(await reset_server.events(run_id))
    everything = list(range(1, last + 1))
    assert await stream(reset_server, run_id) == (200, everything)
    assert await stream(reset_server, run_id, last=str(last)) == (204, [])
    assert await stream(reset_server, run_id, f"?after_sequence={last}") == (204, [])
    assert await stream(reset_server, run_id, "?after_sequence=1", str(last)) == (204, [])
    assert await stream(reset_server, run_id, f"?after_sequence={last}", "1") == (204, [])
    assert await stream(reset_server, run_id, "?after_sequence=1", "2") == (200, everything[2:])
    assert await stream(reset_server, run_id, "?after_sequence=2", "1") == (200, everything[2:])
    assert await stream(reset_server, run_id, "?after_sequence=1", "") == (200, everything[1:])


@pytest.mark.parametrize(
    "unknown",
    ["abc", "-1", "1.5", "99", "9" * 5_000, "0", "+2", "2,2", "00000000-0000-7000-8000-000000000001", "²", "\xe9"],
)
async def test_an_id_that_is_no_event_of_the_run_is_ignored(reset_server: Running, unknown: str) -> None:
    run_id = (await reset_server.ask(await reset_server.conversation()))["id"]
    last = len(await reset_server.events(run_id))
    raw: Any = {b"Last-Event-ID": unknown.encode()}
    response = await reset_server.client.get(f"/v1/runs/{run_id}/stream?after_sequence=1", headers=raw)
    assert (response.status_code, response.text.count("\nevent: ")) == (200, last - 1)


async def test_while_the_run_goes_on_nothing_left_means_wait(reset_server: Running) -> None:
    gate = asyncio.Event()
    reset_server.model.scripts = [[[TextDelta("One")], gate, [Usage(1, 1), Finish("stop")]]]
    conversation = await reset_server.conversation()
    body = {"content": "Hi", "background": True}
    sent = await reset_server.call("POST", f"/v3/conversations/{conversation}/messages", 202, json=body)
    run_id = sent["data"]["id"]
    while len(await reset_server.events(run_id)) < 2:
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(stream(reset_server, run_id, "?after_sequence=1", "2"))
    refused = await reset_server.client.get(f"/v1/runs/{run_id}/stream?after_sequence=99")
    assert refused.status_code == 400
    gate.set()
    assert await waiting == (200, [3])

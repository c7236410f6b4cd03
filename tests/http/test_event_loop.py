"""No request may hold up the others, whatever is in it."""

import asyncio
from functools import partial

import pytest

from tests.conftest import Running
from tests.support.hostile_json import HOSTILE_JSON
from tests.support.watchdog import Watchdog, unblocked


async def test_the_watchdog_barks() -> None:
    with pytest.raises(AssertionError, match="the event loop was busy"):
        async with Watchdog():
            sum(range(6_000_000))


async def test_the_watchdog_sleeps_while_the_loop_waits() -> None:
    async with Watchdog():
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", HOSTILE_JSON)
async def test_hostile_json(shared_server: Running, name: str) -> None:
    body = HOSTILE_JSON[name]
    conversation = await shared_server.conversation()
    message = body.replace(b'{"metadata"', b'{"content": "Hi", "metadata"').replace(b'{"title"', b'{"content"')
    targets = [
        ("/v1/conversations", body),
        (f"/v3/conversations/{conversation}/messages", message),
        ("/v1/tools/import", b'{"document": ' + body + b"}"),
        ("/v1/knowledgebases", body.replace(b'{"title"', b'{"description"')),
        (f"/kb/{conversation}/v1/documents/search", body.replace(b'{"metadata"', b'{"query": "q", "filters"')),
    ]
    for path, content in targets:
        answer = await unblocked(
            partial(shared_server.client.post, path, content=content, headers={"Content-Type": "application/json"})
        )
        assert answer.status_code in (200, 400, 403, 413), answer.text[:300]

"""No request may hold up the others, whatever is in it."""

import asyncio
import gc
from collections.abc import Iterator
from functools import partial

import pytest

from tests.conftest import Running
from tests.support.hostile_json import HOSTILE_JSON
from tests.support.hostile_routes import Maker, Operation
from tests.support.owned import owning
from tests.support.watchdog import Blocked, Watchdog, unblocked

NEVER_ENDS = ("/v1/runs/{run_id}/stream", "/v1/knowledgebase-sources/{source_id}/sync")
"""A stream of a run that waits; a call of a site."""


def settle_memory() -> None:
    """As `stoa serve` has it once it is ready: the collector does not go through what was there before."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def settled_memory(shared_server: Running) -> Iterator[None]:
    settle_memory()
    yield
    gc.unfreeze()
    settle_memory()  # As tests/support/parallel.py has left it.


async def test_the_watchdog_reports_a_blocked_loop() -> None:
    with pytest.raises(AssertionError, match="the event loop was busy"):
        async with Watchdog():
            sum(range(6_000_000))


async def test_the_watchdog_sleeps_while_the_loop_waits() -> None:
    async with Watchdog():
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", HOSTILE_JSON)
@pytest.mark.usefixtures("settled_memory")
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
    for path, _ in targets:  # The framework finishes a route when it is first asked.
        await shared_server.client.post(path, json={})
    for path, content in targets:
        answer = await unblocked(
            partial(shared_server.client.post, path, content=content, headers={"Content-Type": "application/json"})
        )
        assert answer.status_code in (200, 400, 403, 413), answer.text[:300]


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("settled_memory")
async def test_every_route_of_every_host(shared_server: Running) -> None:
    """Something huge in a query, in fields of the body, in the path: all routes, found in the documents."""
    async with owning(shared_server) as owned:
        model = (await shared_server.call("GET", "/v1/router/models"))["data"][0]
        maker = Maker({**owned.ids, "model_id": model["id"], "slug": model["slug"]})
        hosts = ["", f"/kb/{owned.ids['knowledgebase_id']}", f"/apps/{owned.ids['app_id']}", "/router", "/collector"]
        operations = [
            operation
            for prefix in hosts
            for operation in maker.operations(prefix, await shared_server.document(prefix))
            if not operation.name.startswith("DELETE") and not operation.name.endswith(NEVER_ENDS)
        ]
        settle_memory()  # The documents stay in memory, as much again as the rest of the server.
        slow: list[str] = []
        for operation in operations:
            try:
                await unblocked(partial(_ask, shared_server, operation))
            except Blocked as blocked:
                slow.append(f"{operation.name}: {blocked}")
        asked = sum(len(operation.requests) for operation in operations)
        assert not slow, "\n".join(slow)
        assert asked > 300, asked


async def _ask(server: Running, operation: Operation) -> None:
    for request in operation.requests:
        headers = {"Content-Type": request.kind} if request.kind else {}
        answer = await server.client.request(request.method, request.path, content=request.content, headers=headers)
        assert answer.status_code < 500, (request.path[:200], answer.text[:300], request.content[:200])

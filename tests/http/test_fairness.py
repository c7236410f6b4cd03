"""One tenant's many slow runs do not keep another tenant's run waiting."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stoa.gateway import Delta, ModelRequest
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer
from tests.support.running import NO_AUTHORITIES

SLOW = "Take your time."


class SlowModel(ScriptedModel):
    """Answers a slow message once somebody lets it, and every other at once."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Semaphore(0)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        self.requests.append(request)
        self.open += 1
        try:
            yield self._answer(SLOW in str(request.messages[-1]))
        finally:
            self.open -= 1

    async def _answer(self, slow: bool) -> AsyncIterator[Sequence[Delta]]:
        if slow:
            await self.let_go.acquire()
        for step in answer("Done."):
            yield step  # type: ignore[misc]


class Tenant:
    """A project with a key of its own."""

    def __init__(self, server: Running, key: str, model_id: str) -> None:
        self._model_id = model_id
        self.client = httpx.AsyncClient(
            verify=NO_AUTHORITIES, base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )

    async def send(self, text: str, **fields: Any) -> Any:
        body = {"model_id": self._model_id}
        conversation = (await self.client.post("/v1/conversations", json=body)).json()["data"]["id"]
        path = f"/v3/conversations/{conversation}/messages"
        response = await self.client.post(path, json={"content": text, **fields})
        assert response.status_code in (200, 202), response.text
        return response.json()["data"]

    async def flood(self, count: int, at_once: int = 16) -> list[str]:
        turns = asyncio.Semaphore(at_once)

        async def one() -> str:
            async with turns:
                return str((await self.send(SLOW, background=True))["id"])

        return list(await asyncio.gather(*(one() for _ in range(count))))

    async def status(self, run_id: str) -> str:
        return str((await self.client.get(f"/v1/runs/{run_id}")).json()["data"]["status"])


@asynccontextmanager
async def two_tenants(server: Running) -> AsyncGenerator[tuple[Tenant, Tenant]]:
    """A greedy one and a modest one."""
    async with AsyncExitStack() as stack:
        made: list[Tenant] = []
        for name in ("Greedy", "Modest"):
            project = (await server.call("POST", "/v1/projects", 201, json={"name": name}))["data"]["id"]
            body = {"name": name, "project_id": project}
            key = (await server.call("POST", "/v1/access-keys", 201, json=body))["data"]["key"]
            made.append(Tenant(server, key, await server.model_id()))
            await stack.enter_async_context(made[-1].client)
        yield made[0], made[1]


async def until(what: Any) -> None:
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(0.01)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("runs", "places"), [(60, 10), pytest.param(2_000, 200, marks=pytest.mark.long)], ids=["short", "long"]
)
async def test_another_tenants_run_starts_within_a_second(dsn: str, tmp_path: Path, runs: int, places: int) -> None:
    model = SlowModel()
    async with serving(dsn, tmp_path, model, runs_max=places) as server, two_tenants(server) as (greedy, modest):
        waiting = await greedy.flood(runs)
        await until(lambda: model.open == places * 9 // 10)
        began = time.monotonic()
        assert (await modest.send("Hi", stream=False))["output"] == "Done."
        assert time.monotonic() - began < 1.0
        assert model.open == places * 9 // 10, "the greedy one took no place meanwhile"
        for _ in waiting:
            model.let_go.release()
        async with asyncio.timeout(200):
            for run_id in waiting:
                while await greedy.status(run_id) != "completed":
                    await asyncio.sleep(0.02)


async def test_a_full_node_gives_its_next_free_place_to_who_has_none(dsn: str, tmp_path: Path) -> None:
    model = SlowModel()
    async with serving(dsn, tmp_path, model, runs_max=4) as server, two_tenants(server) as (greedy, modest):
        await greedy.flood(30)
        await until(lambda: model.open == 4)
        run_id = (await modest.send("Hi", background=True))["id"]
        assert await modest.status(run_id) == "created"
        # As places become free, both take turns: two are enough, whoever has the first.
        for freed in range(1, 3):
            model.let_go.release()
            await until(lambda freed=freed: len(model.requests) >= 4 + freed)
        await until(lambda: model.open == 4)
        async with asyncio.timeout(10):
            while await modest.status(run_id) != "completed":
                await asyncio.sleep(0.01)
        for _ in range(40):
            model.let_go.release()


async def test_an_operators_cap_holds_at_the_start_of_runs_too(dsn: str, tmp_path: Path) -> None:
    model = SlowModel()
    async with (
        serving(dsn, tmp_path, model, runs_max=100, runs_per_project_max=3) as server,
        two_tenants(server) as (greedy, modest),
    ):
        sent = await greedy.flood(10)
        await until(lambda: model.open == 3)
        assert (await modest.send("Hi", stream=False))["output"] == "Done."
        statuses = [await greedy.status(run_id) for run_id in sent]
        assert (statuses.count("started"), statuses.count("created")) == (3, 7)
        for _ in sent:
            model.let_go.release()
            await asyncio.sleep(0)
            assert model.open <= 3
        async with asyncio.timeout(30):
            for run_id in sent:
                while await greedy.status(run_id) != "completed":
                    await asyncio.sleep(0.01)


async def test_the_cap_is_set_in_the_environment(tmp_path: Path) -> None:
    from stoa.settings import SettingsError, load  # noqa: PLC0415

    nothing = tmp_path / "stoa.toml"
    nothing.write_text("")
    assert load({}, {}, nothing).runs_per_project_max is None
    assert load({"STOA_RUNS_PER_PROJECT_MAX": "7"}, {}, nothing).runs_per_project_max == 7
    with pytest.raises(SettingsError, match="STOA_RUNS_PER_PROJECT_MAX"):
        load({"STOA_RUNS_PER_PROJECT_MAX": "0"}, {}, nothing)

"""What the tests of tools over HTTP share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, shared
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.services import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service.running() as made:
        yield made


@pytest.fixture(scope="module")
async def server_of_agents(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True))
    async with shared(cluster, room, model, allow_private_addresses=True) as server:
        yield server


@pytest.fixture
async def agents(server_of_agents: Running) -> AsyncIterator[Running]:
    """A server whose model calls tools, and whose tools may be on this machine. The tests of a module share it; each
    finds no tool there, and the model as it was at first."""
    server_of_agents.model.begin_anew()
    yield server_of_agents
    for tool in (await server_of_agents.call("GET", "/v1/tools?page_size=100"))["data"]:
        await server_of_agents.call("DELETE", f"/v1/tools/{tool['id']}")

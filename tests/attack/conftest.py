"""A real server process, attacked over loopback while a witness watches it from a process of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.databases import Databases
from tests.support.nodes import Node
from tests.support.scripted_model import ScriptedServer
from tests.support.targets import Target


@pytest.fixture(scope="package")
async def target(cluster: Databases, room: Path) -> AsyncIterator[Target]:
    name = f"attacked_{uuid4().hex}"  # A worker that is handed other tests in between sets this up again.
    home = room / name
    home.mkdir()
    async with ScriptedServer() as upstream:
        settings = {"STOA_CONNECTIONS_PER_ADDRESS_MAX": "200", "STOA_STREAMS_PER_KEY_MAX": "20"}
        node = Node("target", await cluster.copy(name), home, upstream.url, home / "node.log", settings)
        try:
            await node.start()
            yield Target(node)
        finally:
            await node.end()

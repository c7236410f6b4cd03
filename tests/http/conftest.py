"""What the tests of tools over HTTP share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer
from tests.support.services import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service.running() as made:
        yield made


@pytest.fixture
async def agents(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A server whose model calls tools, and whose tools may be on this machine."""
    model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True))
    async with serving(dsn, tmp_path, model, allow_private_addresses=True) as server:
        yield server

"""Nodes know of one another."""

import asyncio
from pathlib import Path

import pytest

from stoa.db import node
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel


async def test_a_node_that_joins_is_known_at_once(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is not known is not told of what is written: its readers would wait for their slow poll."""
    first: list[node.Node] = []
    start = node.Node.start

    async def caught(self: node.Node) -> None:
        first.append(self)
        await start(self)

    monkeypatch.setattr(node.Node, "start", caught)
    async with serving(running.dsn, tmp_path / "a", ScriptedModel()):
        # The next renewal that is due by itself comes far too late for this test.
        monkeypatch.setattr(node, "RENEW_SECONDS", 3_600.0)
        await asyncio.sleep(0)
        first[0].wake()
        known = first[0].others
        async with serving(running.dsn, tmp_path / "b", ScriptedModel()), asyncio.timeout(5):
            while first[0].others <= known:
                await asyncio.sleep(0.01)

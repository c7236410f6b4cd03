"""What a run asks of the database: a statement more is half a tenth of a short run's cost (docs/decisions/0022)."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.conftest import Running

BACKGROUND = re.compile(r"[a-z_]+\.[a-z_.]+$")
"""How tasks that look for work, keep a lease and the like are named."""


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Statements from now on, but those of the background; the first line of each."""
    said: list[str] = []

    def count(name: str) -> None:
        plain = getattr(asyncpg.Connection, name)

        async def counting(self: asyncpg.Connection, query: str, *args: Any, **options: Any) -> Any:
            task = asyncio.current_task()
            if task is None or not BACKGROUND.match(task.get_name()):
                said.append(query.strip().splitlines()[0][:60])
            return await plain(self, query, *args, **options)

        monkeypatch.setattr(asyncpg.Connection, name, counting)

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        count(name)
    return lambda: said


async def test_a_streamed_run_is_six_statements(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key; BEGIN, the start, COMMIT; the history; the end."""
    conversation = await running.conversation()
    await running.ask(conversation)
    statements = counted(monkeypatch)
    async with running.client.stream(
        "POST", f"/v3/conversations/{conversation}/messages", json={"content": "Hi"}
    ) as stream:
        assert [line async for line in stream.aiter_lines()][-3].startswith("event: run.completed")
    assert len(statements()) == 6, statements()

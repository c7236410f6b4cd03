"""A collector that is killed while exporters send: every span that it acknowledged is there, once, and counted."""

import asyncio
import itertools
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.crashes.server import KEY, Server
from tests.support.running import NO_AUTHORITIES

TRACES, SENDERS = 5, 4
ENOUGH = 12
"""Acknowledged requests between two kills."""


def spans(trace: int, number: int) -> list[dict[str, Any]]:
    """A request: three steps of one trace that nobody else sends, and an old one again."""
    return [
        {
            "id": f"{trace}-{number}-{part}" if part else f"{trace}-root",
            "trace_id": f"trace-{trace}",
            "name": "step",
            "type": "node" if part else "workflow",
            "parent_run_id": f"{trace}-root" if part else None,
            "source_id": "crash",
            "start_time": "2026-03-01T12:00:00+00:00",
            "end_time": "2026-03-01T12:00:01+00:00",
            "status": "succeeded",
            "metadata": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        }
        for part in range(4)
    ]


@pytest.mark.timeout(180)
async def test_no_acknowledged_span_is_lost(room: Path) -> None:
    server = Server(room / "crash-traces", "http://127.0.0.1:9/v1")
    await server.start()
    acknowledged: set[tuple[str, str]] = set()
    answered = 0
    numbers = itertools.count()
    done = asyncio.Event()

    async def send(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
        nonlocal answered
        while not done.is_set():
            await server.up.wait()
            number = next(numbers)
            body = spans(number % TRACES, number)
            try:
                response = await http.post(f"{server.url}/v1/traces", json={"runs": body}, headers=headers)
            except httpx.HTTPError:
                continue  # Nobody knows whether it was stored: an exporter would send it again, or give it up.
            if response.status_code == 200:
                acknowledged.update((one["trace_id"], one["id"]) for one in body)
                answered += 1

    try:
        async with httpx.AsyncClient(verify=NO_AUTHORITIES, timeout=20) as http:
            first = {"Authorization": f"Bearer {KEY}"}
            project = (await http.get(f"{server.url}/v1/projects", headers=first)).json()["data"][0]["id"]
            fields = {"name": str(uuid4()), "project_id": project}
            made = await http.post(f"{server.url}/v1/access-keys", json=fields, headers=first)
            headers = {"Authorization": f"Bearer {made.json()['data']['key']}"}
            async with asyncio.TaskGroup() as group:
                for _ in range(SENDERS):
                    group.create_task(send(http, headers))
                for database in (False, True):
                    before = answered
                    async with asyncio.timeout(60):
                        while answered < before + ENOUGH:
                            await asyncio.sleep(0.01)
                    await server.kill(database=database)
                done.set()
            found: set[tuple[str, str]] = set()
            for trace in range(TRACES):
                whole = (await http.get(f"{server.url}/v1/traces/trace-{trace}", headers=headers)).json()["data"]
                ids = [(one["trace_id"], one["id"]) for one in whole["runs"]]
                assert len(ids) == len(set(ids))
                found |= set(ids)
            assert acknowledged - found == set()
            listed = (await http.get(f"{server.url}/v1/traces?wire=sdk", headers=headers)).json()["data"]
            assert sum(one["run_count"] for one in listed) == len(found)
            doctor = (await http.get(f"{server.url}/v1/doctor", headers=first)).json()["data"]
            assert doctor["healthy"]
    finally:
        await server.stop()

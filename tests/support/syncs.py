"""Sources and their syncs, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support.running import Running


async def create(
    running: Running, base_id: str, provider: str, config: dict[str, Any], status: int = 201, **fields: Any
) -> Any:
    body = {"name": "Docs", "provider": provider, "config": config, **fields}
    answered = await running.call("POST", f"/v1/knowledgebases/{base_id}/sources", status, json=body)
    return answered["data"] if status == 201 else answered["error"]


async def ended(running: Running, source_id: str, *wanted: str) -> dict[str, Any]:
    """The last sync, once its status is one of these."""
    async with asyncio.timeout(30):
        while True:
            answer = await running.client.get(f"/v1/knowledgebase-sources/{source_id}/sync")  # 404 before the first.
            found = answer.json().get("data", {"status": "none"})
            if found["status"] in (wanted or ("completed", "failed", "canceled")):
                return found
            await asyncio.sleep(0.03)


async def synced(running: Running, source_id: str, **options: Any) -> dict[str, Any]:
    begun = (await running.call("POST", f"/v1/knowledgebase-sources/{source_id}/sync", 202, json=options))["data"]
    done = await ended(running, source_id)
    assert done["id"] == begun["id"]
    return done


def counts(sync: dict[str, Any], *names: str) -> dict[str, int]:
    return {name: count for name, count in sync["counts"].items() if (count and name != "found") or name in names}


async def items_of(running: Running, base_id: str, source_id: str) -> dict[str, dict[str, Any]]:
    listed = await running.call("GET", f"/v1/knowledgebases/{base_id}/items?page_size=500&source_id={source_id}")
    return {item["metadata"]["source"]: item for item in listed["data"]}


def fill(directory: Path, files: int = 3) -> None:
    (directory / "travel").mkdir(parents=True)
    (directory / "travel" / "hotels.md").write_text("A hotel may cost 140 euros a night.")
    for number in range(files - 1):
        (directory / f"note-{number}.txt").write_text(f"This is note number {number}.")

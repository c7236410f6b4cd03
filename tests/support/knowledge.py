"""Knowledge bases in tests: two small files, and the calls that every test of bases makes."""

import asyncio
import io
from pathlib import Path
from typing import Any

from tests.support.running import Running

HANDBOOK = Path(__file__).parents[2] / "src/stoa/cli/assets/stoa-handbook.pdf"
TRAVEL = (
    b"# Travel\n\nTrains are booked by the office. A hotel may cost 140 euros a night.\n\n"
    b"# Meals\n\nLunch is paid up to 25 euros.\n"
)
SICK = (
    b"# Sick leave\n\nWhoever is ill tells the team by nine o'clock. "
    b"After three days a doctor's note is needed, form HR-4711.\n"
)


async def base_of(server: Running, **fields: Any) -> dict[str, Any]:
    return (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Handbook", **fields}))["data"]


async def upload(server: Running, base_id: str, *files: tuple[str, bytes], status: int = 201, **fields: str) -> Any:
    parts = [("files", (name, io.BytesIO(content))) for name, content in files]
    answered = await server.call("POST", f"/v1/knowledgebases/{base_id}/upload", status, files=parts, data=fields)
    return answered["data"] if status == 201 else answered["error"]


async def settled(server: Running, base_id: str) -> list[dict[str, Any]]:
    """The base's items once none is waiting or in hand."""
    async with asyncio.timeout(60):
        while True:
            items = (await server.call("GET", f"/v1/knowledgebases/{base_id}/items?page_size=500"))["data"]
            if all(item["status"] in ("processed", "failed") for item in items):
                return items
            await asyncio.sleep(0.03)


async def search(server: Running, base_id: str, query: str, **fields: Any) -> list[dict[str, Any]]:
    return (await server.call("POST", f"/kb/{base_id}/v1/documents/search", json={"query": query, **fields}))["data"]


def sources(hits: list[dict[str, Any]]) -> set[str]:
    return {hit["metadata"]["source"] for hit in hits}

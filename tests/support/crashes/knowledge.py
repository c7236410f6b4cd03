"""`python -m tests.support.crashes.knowledge [--long] [--seed N]`: servers and databases are killed at random moments
while files are added, replaced and deleted.

Invariants: a search never finds two versions of a file, always finds one once it was found, and finds none after its
deletion was acknowledged; no item stays unsettled; at the end there are no unreferenced rows, chunks or contents.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from stoa.db.embedded import start_embedded
from tests.support.crashes.server import KEY, Server

CALL_SECONDS_MAX = 60.0
SETTLE_SECONDS_MAX = 240.0
"""An item that lost its worker five times waits for more than two minutes."""
HEADERS = {"Authorization": f"Bearer {KEY}"}


@dataclass
class Slot:
    """One file of the campaign: the last request for it, which versions may be found, and whether one must be."""

    number: int
    item_id: str | None = None
    version: int = 0
    allowed: set[int] = field(default_factory=set[int])
    seen: bool = False
    deleted: bool = False
    busy: bool = False

    def text(self) -> bytes:
        """Three chunks, each with the slot's word and the version's."""
        paragraph = (
            f"Slot slot{self.number}x in its version s{self.number}v{self.version}w. "
            + "Filling that says nothing of interest to anybody. " * 14
        )
        return "\n\n".join(f"## Part {part}\n\n{paragraph}" for part in range(3)).encode()


@dataclass
class Report:
    seed: int
    done: Counter[str] = field(default_factory=Counter[str])
    searches: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0
    settled_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            **self.done,
            "kills": dict(self.kills),
            "searches": self.searches,
            "seconds": round(self.seconds, 1),
            "settled_seconds_after_the_last_kill": round(self.settled_seconds, 1),
        }


class Campaign:
    def __init__(
        self, server: Server, home: Path, http: httpx.AsyncClient, seed: int, files: int, operations: int
    ) -> None:
        self.server = server
        self.home = home
        self.http = http
        self.dice = random.Random(seed)
        self.report = Report(seed)
        self.slots = [Slot(number) for number in range(files)]
        self.operations = operations
        self.base_id = ""
        self.over = asyncio.Event()
        self.answered = 0

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Repeats until the server answers: every call may be made twice."""
        headers = {**HEADERS, **options.pop("headers", {})}
        async with asyncio.timeout(CALL_SECONDS_MAX):
            while True:
                await self.server.up.wait()
                try:
                    answer = await self.http.request(method, path, headers=headers, **options)
                    if answer.status_code != 503:
                        assert answer.status_code < 500, answer.text
                        self.answered += 1
                        return answer
                except (httpx.TransportError, OSError):
                    pass
                await asyncio.sleep(0.03)

    async def upload(self, slots: list[Slot], *, replace: bool) -> None:
        for slot in slots:
            slot.version += 1
            slot.allowed.add(slot.version)
        files = [("files", (f"{slot.number}.md", slot.text())) for slot in slots]
        data = {"ids": json.dumps([slot.item_id for slot in slots])} if replace else {}
        answer = await self.call(
            "POST",
            f"/v1/knowledgebases/{self.base_id}/upload",
            files=files,
            data=data,
            headers={"Idempotency-Key": str(uuid4())},
        )
        assert answer.status_code == 201, answer.text
        for slot, item in zip(slots, answer.json()["data"], strict=True):
            slot.item_id = item["id"]
        self.report.done["replaced" if replace else "uploaded"] += len(slots)

    async def delete(self, slot: Slot) -> None:
        answer = await self.call("DELETE", f"/v1/knowledgebase-items/{slot.item_id}")
        assert answer.status_code in (200, 404), answer.text  # 404: the kill came between the deletion and its answer
        slot.deleted = True
        assert await self.versions(slot) == set(), "a deleted file was found"
        self.report.done["deleted"] += 1

    async def versions(self, slot: Slot) -> set[int]:
        body = {"query": f"slot{slot.number}x", "mode": "keyword", "limit": 100}
        answer = await self.call("POST", f"/kb/{self.base_id}/v1/documents/search", json=body)
        assert answer.status_code == 200, answer.text
        self.report.searches += 1
        return {
            int(found)
            for hit in answer.json()["data"]
            for found in re.findall(rf"s{slot.number}v(\d+)w", hit["content"])
        }

    async def look(self, slot: Slot) -> None:
        must, may, gone = slot.seen, set(slot.allowed), slot.deleted or slot.busy
        found = await self.versions(slot)
        assert len(found) <= 1, f"two versions of one file: {found}"
        assert found <= may | slot.allowed, f"version {found} of {may}"
        if not (gone or slot.deleted or slot.busy):
            assert found or not must, f"a file that answered was not found: slot {slot.number}"
            slot.seen = slot.seen or bool(found)

    # --- who does what ----------------------------------------------------------------------------------------------
    async def writer(self, slots: list[Slot]) -> None:
        for start in range(0, len(slots), 10):
            await self.upload(slots[start : start + 10], replace=False)
        for _ in range(self.operations):
            live = [slot for slot in slots if not slot.deleted]
            if self.dice.random() < 0.3 and len(live) > len(slots) // 2:
                slot = self.dice.choice(live)
                slot.busy = True
                await self.delete(slot)
            else:
                await self.upload(self.dice.sample(live, min(3, len(live))), replace=True)

    async def searcher(self) -> None:
        while not self.over.is_set():
            await self.look(self.dice.choice(self.slots))

    async def killer(self, kills: int) -> None:
        for number in range(kills):
            answered = self.answered
            while (
                self.answered == answered
            ):  # On a busy machine a start may take longer than the pause: do something between two kills.
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.dice.uniform(0.1, 1.2))
            what = ("server", "server and database", "database")[number % 3]
            if what == "database":  # The server survives, answers 503, and restarts the database.
                for file in self.home.rglob("postmaster.pid"):
                    os.kill(int(file.read_text().splitlines()[0]), signal.SIGKILL)
            else:
                await self.server.kill(database=what != "server")
            self.report.kills[what] += 1

    async def settled(self) -> None:
        began = time.monotonic()
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            # One request for both: an item whose worker was killed goes from processing back to pending.
            while any(item["status"] in ("pending", "processing") for item in await self.items()):
                await asyncio.sleep(0.1)
        self.report.settled_seconds = time.monotonic() - began

    async def items(self) -> list[dict[str, Any]]:
        """All of them: a campaign has 500 files at most."""
        answer = (await self.call("GET", f"/v1/knowledgebases/{self.base_id}/items?page_size=500")).json()
        assert answer["pagination"]["total_count"] == len(answer["data"])
        return answer["data"]

    async def check(self) -> None:
        items = await self.items()
        assert {item["status"] for item in items} == {"processed"}, [
            item.get("error") for item in items if item["status"] != "processed"
        ]
        assert {item["id"] for item in items} == {slot.item_id for slot in self.slots if not slot.deleted}
        for slot in self.slots:
            assert await self.versions(slot) == (set() if slot.deleted else {slot.version}), f"slot {slot.number}"


async def campaign(home: Path, *, files: int, operations: int, kills: int, seed: int, writers: int = 3) -> Report:
    """Raises AssertionError for a violated invariant."""
    began = time.monotonic()
    server = Server(home, "http://127.0.0.1:9/v1")
    await server.start()
    http = httpx.AsyncClient(base_url=server.url, timeout=20)
    try:
        test = Campaign(server, home, http, seed, files, operations)
        test.base_id = (
            await test.call(
                "POST", "/v1/knowledgebases", json={"name": "Campaign"}, headers={"Idempotency-Key": "base"}
            )
        ).json()["data"]["id"]
        async with asyncio.TaskGroup() as watching:
            watching.create_task(test.searcher())
            async with asyncio.TaskGroup() as crew:
                for number in range(writers):
                    crew.create_task(test.writer(test.slots[number::writers]))
                crew.create_task(test.killer(kills))
            await test.settled()
            test.over.set()
        await test.check()
    finally:
        await http.aclose()
        await server.stop()
    await orphans(home, {slot.item_id for slot in test.slots if not slot.deleted})
    test.report.seconds = time.monotonic() - began
    return test.report


UNVERIFIED = "SELECT count(*) FROM deletions WHERE verified_at IS NULL"


async def orphans(home: Path, items: set[str | None]) -> None:
    """Starts once more, so that remains of the last kill are swept, and counts everything with SQL."""
    server = Server(home, "http://127.0.0.1:9/v1")
    await server.start()
    embedded = await start_embedded(home)
    database = await asyncpg.connect(embedded.dsn)
    async with asyncio.timeout(30):
        while len(blobs(home)) > len(items) or await database.fetchval(UNVERIFIED):
            await asyncio.sleep(0.1)
    await server.stop()
    try:
        rows = await database.fetch("SELECT id, status, sha256, served_sha256 FROM knowledge_items")
        assert {str(row["id"]) for row in rows} == items
        assert {row["sha256"].hex() for row in rows} == {path.name for path in blobs(home)}, (
            "content that nobody refers to, or none for an item"
        )
        assert all(row["sha256"] == row["served_sha256"] for row in rows)
        assert {
            str(row["item_id"]) for row in await database.fetch("SELECT DISTINCT item_id FROM knowledge_chunks")
        } == items
        assert {
            str(row["item_id"]) for row in await database.fetch("SELECT item_id FROM knowledge_index_items")
        } == items
        assert await database.fetchval("SELECT count(*) FROM knowledge_chunks") == await database.fetchval(
            "SELECT count(*) FROM knowledge_vectors"
        )
        assert await database.fetchval("SELECT count(*) FROM knowledge_indexes") == 1
        assert await database.fetchval(UNVERIFIED) == 0
    finally:
        await database.close()
        await embedded.stop()


def blobs(home: Path) -> list[Path]:
    return [path for path in (home / "knowledge").glob("*/*/??/*") if path.is_file()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="500 files and 40 kills instead of 40 and 3")
    parser.add_argument("--seed", type=int, default=20261124)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoa-crash-") as directory:
        Path(directory).chmod(0o755)
        sizes = (
            {"files": 500, "operations": 60, "kills": 40}
            if options.long
            else {"files": 40, "operations": 5, "kills": 3}
        )
        print(
            json.dumps(asyncio.run(campaign(Path(directory) / "data", seed=options.seed, **sizes)).as_json(), indent=1)
        )

#!/usr/bin/env python3
"""Searches over HTTP, on a base of 10,000 chunks: how long one takes, and how much CPU the node and PostgreSQL spend on
it.

    python bench/search.py --cranfield ../shared/retrieval/cranfield [--chunks 10000] [--queries 200] [--keep DIR]

The chunks are mixed from Cranfield's abstracts, as in `bench/knowledge.py`, and written directly into the index. Every
query is sent once with a new text (its embedding is computed) and once more (its vector is cached). On a machine with
other load, seconds of CPU are more reliable than milliseconds.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from embedding import collection
from ingestion import cpu_seconds, serving
from knowledge import PER_ITEM, made
from retrieval import vectors_of

from stoa.db import Database
from stoa.db.internal import internal
from stoa.embedding import LocalEmbedder
from stoa.index import Index
from stoa.index.types import BaseKey, NewChunk, NewItem

MODES: tuple[dict[str, Any], ...] = (
    {"mode": "keyword"},
    {"mode": "semantic"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "group_by": "document"},
)


async def fill(http: httpx.AsyncClient, dsn: str, texts: list[str], vectors: Any, chunks: int) -> str:
    base = (await http.post("/v1/knowledgebases", json={"name": "Searched"})).json()["data"]
    bodies, mixed = made(chunks, texts, vectors)
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow("SELECT org_id, project_id FROM knowledgebases WHERE id = $1", UUID(base["id"]))
    await connection.close()
    key = BaseKey(row["org_id"], row["project_id"], UUID(base["id"]))
    embedder = LocalEmbedder(Path(tempfile.gettempdir()))
    database = await Database.open(dsn, connections_max=2)
    index = Index()
    for start in range(0, len(bodies), PER_ITEM):
        new = [NewChunk(text, text.encode()[:32].ljust(32)) for text in bodies[start : start + PER_ITEM]]
        item = NewItem(UUID(int=9_000 + start), {}, new, mixed[start : start + PER_ITEM], embedder=embedder.identity)
        async with internal(database) as tx:
            await index.replace(tx, key, item)
    await database.close()
    return base["id"]


async def until_indexed(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(300):
            while not await connection.fetchval("SELECT bool_and(hnsw) FROM knowledge_indexes"):
                await asyncio.sleep(1)
    finally:
        await connection.close()


async def measure(
    http: httpx.AsyncClient, pid: int, postmaster: int, base: str, asked: list[str], body: Any, number: int
) -> None:
    for kind in ("new query", "met before"):
        node, database = cpu_seconds(pid), cpu_seconds(postmaster)
        taken: list[float] = []
        for text in asked:
            began = time.perf_counter()
            answer = await http.post(f"/kb/{base}/v1/documents/search", json={"query": f"{text} {number}", **body})
            taken.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text
        node, database = cpu_seconds(pid) - node, cpu_seconds(postmaster) - database
        each = 1000 / len(asked)
        taken.sort()
        print(
            f"{' '.join(body.values()):18} {kind:11} p50 {statistics.median(taken):6.1f} ms  p10 "
            f"{taken[len(taken) // 10]:6.1f} ms   CPU ms: node {node * each:5.1f}  PostgreSQL {database * each:5.1f}   "
            f"{1000 / ((node + database) * each):6.0f} requests/s of one core",
            flush=True,
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cranfield", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="a folder for the server's data, filled once")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "stoa-bench-vectors")
    options = parser.parse_args()
    _, texts, asked, _ = collection(options.cranfield)
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stoa-bench-")))
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        known = folder / "base"
        async with serving(folder) as (http, pid):
            [place] = (folder / "data").rglob("postmaster.pid")
            lines = place.read_text().splitlines()
            dsn = f"postgresql://stoa@/stoa?host={lines[4]}&port={lines[3]}"
            if not known.exists():
                vectors = await vectors_of(texts, options.cache)
                known.write_text(await fill(http, dsn, texts, vectors, options.chunks))
            await until_indexed(dsn)
            for number, body in enumerate(MODES):
                await measure(http, pid, int(lines[0]), known.read_text(), asked[: options.queries], body, number)


if __name__ == "__main__":
    asyncio.run(main())

#!/usr/bin/env python3
"""Search over 100,000 chunks: latency (without embedding) and recall, with filters; beside 1,000 small bases; while
items are added.

    pip install chromadb lancedb       # peers beside pgvector by hand (peers.py); a missing one is left out
    python bench/knowledge.py --cranfield ../shared/retrieval/cranfield [--quick]

The chunks are windows of Cranfield's abstracts, three each (150 words), so that words have a natural distribution; a
chunk's vector is the mean of its abstracts' vectors with noise. The queries are Cranfield's. Each search is one
transaction of the tenant role, as a route makes it, including text and snippets. Recall@10 is relative to an exact scan
of the same vectors; that of hybrid searches to the fusion of the 1,000 best of both halves, found exactly. `--keep DIR`
keeps the database for the next run. `--quick`: 80 queries, one pass and the peers, in less than six minutes.
"""

import argparse
import asyncio
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import uvloop
from embedding import collection
from numpy.typing import NDArray
from peers import all_peers
from retrieval import vectors_of

from stoa.db import Database, connect
from stoa.db.embedded import start_embedded
from stoa.db.internal import internal
from stoa.db.migrate import migrate
from stoa.index import Index, Upkeep
from stoa.index.types import BaseKey, Found, Mode, NewChunk, NewItem, Query
from stoa.kernel.principal import Principal

Vectors = NDArray[np.float32]
PER_ITEM = 20
ALL = 1_000
"""The candidates of each half in the exact reference for hybrid searches."""
ORG, PROJECT = UUID(int=1), UUID(int=2)
LARGE, SMALL = BaseKey(ORG, PROJECT, UUID(int=3)), BaseKey(ORG, PROJECT, UUID(int=4))
WHO = Principal(ORG, PROJECT, UUID(int=9))


def made(chunks: int, texts: Sequence[str], vectors: Vectors) -> tuple[list[str], Vectors]:
    draw, numbers = random.Random(20261125), np.random.default_rng(20261125)
    sources = numbers.integers(0, len(texts), (chunks, 3))
    words = [text.split() for text in texts]
    bodies = []
    for number, row in enumerate(sources):
        windows = []
        for source in row:
            start = draw.randrange(max(1, len(words[source]) - 50))
            windows.append(" ".join(words[source][start : start + 50]))
        bodies.append(f"{' '.join(windows)} Report REP-{number:06d}.")
    mixed = np.einsum("ijk,j->ik", vectors[sources], np.array([0.6, 0.25, 0.15], np.float32))
    mixed += numbers.normal(0, 0.02, mixed.shape).astype(np.float32)
    return bodies, mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def item_of(number: int, bodies: Sequence[str], vectors: Vectors) -> NewItem:
    metadata = {
        "tenth": number % 10,
        "hundredth": number % 100,
        "half": number % 2 == 0,
        "year": 1950 + number % 70,
        "file_id": str(UUID(int=10_000 + number)),
    }
    chunks = [NewChunk(body, hashlib.sha256(body.encode()).digest(), page=1 + at) for at, body in enumerate(bodies)]
    return NewItem(UUID(int=10_000 + number), metadata, chunks, vectors, embedder="minilm")


async def fill(
    database: Database, index: Index, key: BaseKey, bodies: Sequence[str], vectors: Vectors, first: int = 0
) -> None:
    for start in range(0, len(bodies), PER_ITEM):
        async with internal(database) as tx:
            await index.replace(
                tx,
                key,
                item_of(first + start // PER_ITEM, bodies[start : start + PER_ITEM], vectors[start : start + PER_ITEM]),
            )


async def clone(dsn: str, copies: int) -> None:
    """Copies of the small base under other ids."""
    connection = await connect(dsn)
    try:
        source = await connection.fetchval(
            "SELECT index_id FROM knowledge_indexes WHERE knowledgebase_id = $1", SMALL.knowledgebase_id
        )
        have = await connection.fetchval("SELECT count(*) FROM knowledge_indexes")
        for copy in range(have, copies + 1):
            async with connection.transaction():
                target = await connection.fetchval(
                    "INSERT INTO knowledge_indexes (org_id, project_id, knowledgebase_id, generation, embedder, "
                    "dimensions, language, chunks, words, next_ordinal)"
                    " SELECT org_id, project_id, $2, generation, embedder, dimensions, language, chunks, words, "
                    "next_ordinal FROM knowledge_indexes"
                    " WHERE index_id = $1 RETURNING index_id",
                    source,
                    UUID(int=5_000_000 + copy),
                )
                for table, columns in (
                    ("knowledge_index_items", "item_id, metadata, first_ordinal, last_ordinal, words, terms"),
                    ("knowledge_chunks", "ordinal, item_id, id, position, page, heading, text, hash"),
                    ("knowledge_vectors", "ordinal, embedding"),
                    ("knowledge_postings", "term, first_ordinal, last_ordinal, count, records"),
                ):
                    await connection.execute(
                        f"INSERT INTO {table} (org_id, project_id, index_id, {columns})"
                        f" SELECT org_id, project_id, $2, {columns} FROM ONLY {table} WHERE index_id = $1",
                        source,
                        target,
                    )
        await connection.execute("VACUUM ANALYZE", timeout=1800)
    finally:
        await connection.close()


class Asked:
    """The queries, and their exact results."""

    def __init__(self, texts: Sequence[str], vectors: Vectors, stored: Vectors) -> None:
        self.texts, self.vectors = texts, vectors
        self.stored = stored.astype(np.float16).astype(np.float32)

    def exact(self, allowed: NDArray[np.bool_] | None = None) -> list[set[int]]:
        scores = self.vectors.astype(np.float16).astype(np.float32) @ self.stored.T
        if allowed is not None:
            scores[:, ~allowed] = -2
        return [set(row[:10].tolist()) for row in np.argsort(-scores, axis=1, kind="stable")]


def places_of(found: Found, limit: int = 10) -> set[int]:
    return {(hit.item_id.int - 10_000) * PER_ITEM + (hit.page or 1) - 1 for hit in found.hits[:limit]}


async def exactly_fused(
    database: Database, index: Index, key: BaseKey, asked: "Asked", how: dict[str, Any]
) -> list[set[int]]:
    found = []
    for text, vector in zip(asked.texts, asked.vectors, strict=True):
        async with database.tenant(WHO) as tx:
            found.append(places_of(await index.search(tx, key, Query(text, limit=ALL, exact=True, **how), vector)))
    return found


async def measure(
    name: str,
    database: Database,
    index: Index,
    key: BaseKey,
    asked: Asked,
    *,
    allowed: NDArray[np.bool_] | None = None,
    chunks: int = 0,
    **how: Any,
) -> None:
    taken, recalls, stages = [], [], []
    exact: list[set[int]] | None = None
    if chunks and how["mode"] is not Mode.KEYWORD:
        exact = (
            asked.exact(allowed)
            if how["mode"] is Mode.SEMANTIC
            else await exactly_fused(database, index, key, asked, how)
        )
    for number, (text, vector) in enumerate(
        zip(asked.texts, asked.vectors, strict=True)
    ):  # The stages' times, and the exact result.
        async with database.tenant(WHO) as tx:
            found = await index.search(tx, key, Query(text, limit=10, explain=True, **how), vector)
        stages.append(found.explain)
        if exact is not None:
            recalls.append(len(places_of(found) & exact[number]) / min(10, len(exact[number])))
    before = time.process_time()
    for text, vector in zip(asked.texts, asked.vectors, strict=True):  # Once more without `explain`, as clients search.
        begun = time.perf_counter()
        async with database.tenant(WHO) as tx:
            await index.search(tx, key, Query(text, limit=10, **how), vector)
        taken.append((time.perf_counter() - begun) * 1000)
    spent = (time.process_time() - before) / len(asked.texts) * 1000
    taken.sort()
    parts = " ".join(
        f"{stage} {statistics.median(one[stage]['ms'] for one in stages if stage in one):.1f}"
        for stage in ("open", "filter", "keyword", "semantic", "fusion", "load")
        if any(stage in one for one in stages)
    )
    method = stages[0].get("semantic", {}).get("method", "")
    recall = f"recall@10 {statistics.mean(recalls):.4f}" if recalls else ""
    latency = (
        f"p50 {statistics.median(taken):6.1f} ms  p99 {taken[int(len(taken) * 0.99)]:6.1f} ms  "
        f"node's CPU {spent:4.1f} ms"
    )
    print(f"{name:34} {latency}  {recall:17} {method:7} [{parts}]", flush=True)


async def all_of(
    title: str, database: Database, index: Index, asked: Asked, chunks: int, *, fused: bool = False
) -> None:
    """`fused`: with the recall of hybrid searches, which takes longer."""
    print(f"\n{title}")
    items = np.arange(chunks) // PER_ITEM
    hybrid: dict[str, Any] = {"mode": Mode.HYBRID, "chunks": chunks if fused else 0}
    await measure("warm-up", database, index, LARGE, asked, mode=Mode.HYBRID)
    await measure("semantic", database, index, LARGE, asked, chunks=chunks, mode=Mode.SEMANTIC)
    await measure("keyword", database, index, LARGE, asked, mode=Mode.KEYWORD)
    await measure("hybrid", database, index, LARGE, asked, **hybrid)
    for share, field, value, chosen in (
        ("50 %", "half", True, items % 2 == 0),
        ("10 %", "tenth", 3, items % 10 == 3),
        ("1 %", "hundredth", 7, items % 100 == 7),
    ):
        filters = {"field": field, "operator": "==", "value": value}
        await measure(
            f"semantic, filter leaves {share}",
            database,
            index,
            LARGE,
            asked,
            allowed=chosen,
            chunks=chunks,
            mode=Mode.SEMANTIC,
            filters=filters,
        )
        await measure(f"hybrid, filter leaves {share}", database, index, LARGE, asked, **hybrid, filters=filters)
    ranged = {
        "operator": "AND",
        "conditions": [
            {"field": "year", "operator": ">=", "value": 1960},
            {"field": "year", "operator": "<", "value": 1981},
        ],
    }
    await measure("hybrid, a range leaves 30 %", database, index, LARGE, asked, **hybrid, filters=ranged)


@asynccontextmanager
async def coming_in(database: Database, index: Index, bodies: Sequence[str], vectors: Vectors) -> AsyncIterator[None]:
    """Items of the large base are replaced, as fast as the local embedder would allow (a chunk each 10 ms)."""
    done = 0

    async def forever() -> None:
        nonlocal done
        while True:
            begun = time.perf_counter()
            item = done % 50
            span = slice(item * PER_ITEM, (item + 1) * PER_ITEM)
            async with internal(database) as tx:
                await index.replace(tx, LARGE, item_of(item, bodies[span], vectors[span]))
            done += 1
            await asyncio.sleep(max(0.0, PER_ITEM * 0.01 - (time.perf_counter() - begun)))

    task = asyncio.create_task(forever())
    begun = time.perf_counter()
    yield
    task.cancel()
    print(f"(replaced meanwhile: {done * PER_ITEM / (time.perf_counter() - begun):.0f} chunks/s)")


async def timed(name: str, work: Awaitable[None]) -> None:
    begun = time.perf_counter()
    await work
    print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cranfield",
        type=Path,
        required=True,
        help="the folder with cran.all.1400.xml, cran.qry.xml and cranqrel.trec.txt",
    )
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--small-bases", type=int, default=1_000)
    parser.add_argument("--queries", type=int, help="225, all; 80 with --quick")
    parser.add_argument("--quick", action="store_true", help="80 queries, no small bases, nothing coming in")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--keep", type=Path, help="a directory whose database is used again")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "stoa-bench-vectors")
    options = parser.parse_args()
    _, texts, questions, gains = collection(options.cranfield)
    vectors, query_vectors = await vectors_of(texts, options.cache), await vectors_of(questions, options.cache)
    bodies, stored = made(options.chunks, texts, vectors)
    numbers = sorted(gains)[: options.queries or (80 if options.quick else 225)]
    asked = Asked(
        [questions[number - 1] for number in numbers], query_vectors[[number - 1 for number in numbers]], stored
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        embedded = await start_embedded(folder / "cluster")
        await migrate(embedded.dsn)
        database = await Database.open(embedded.dsn, connections_max=4)
        index, upkeep = Index(), Upkeep(database)
        try:
            async with internal(database) as tx:
                filled = await tx.fetchval("SELECT count(*) FROM knowledge_indexes")
            if not filled:
                await timed(f"filled {options.chunks:,} chunks", fill(database, index, LARGE, bodies, stored))
            await timed("upkeep (merge, own table, HNSW)", upkeep.tend())
            title = f"{options.chunks:,} chunks, 384 dimensions, {len(asked.texts)} queries, one after the other"
            await all_of(title, database, index, asked, options.chunks, fused=True)
            if not options.no_peers:
                tenths = [number // PER_ITEM % 10 for number in range(options.chunks)]
                exact, exact_tenth = asked.exact(), asked.exact(np.array(tenths) == 3)
                await all_peers(embedded.dsn, Path(scratch), bodies, stored, tenths, asked.vectors, exact, exact_tenth)
            if not options.quick:
                async with coming_in(database, index, bodies, stored):
                    await all_of("the same while items are replaced in it", database, index, asked, options.chunks)
            if options.small_bases and not options.quick:
                await timed("small base", fill(database, index, SMALL, bodies[:1_000], stored[:1_000]))
                await timed("upkeep", Upkeep(database, unmerged_max=1_000).tend())
                await timed(f"{options.small_bases:,} copies of 1,000 chunks", clone(embedded.dsn, options.small_bases))
                await all_of(
                    f"the large base again, {options.small_bases:,} small bases of 1,000 chunks beside it",
                    database,
                    index,
                    asked,
                    options.chunks,
                )
                print("\none of the small bases")
                last = BaseKey(ORG, PROJECT, UUID(int=5_000_000 + options.small_bases))
                few = Asked(asked.texts, asked.vectors, stored[:1_000])
                await measure("warm-up", database, index, last, few)
                for mode in (Mode.SEMANTIC, Mode.KEYWORD, Mode.HYBRID):
                    await measure(mode.value, database, index, last, few, chunks=1_000, mode=mode)
        finally:
            await database.close()
            await embedded.stop()


if __name__ == "__main__":
    uvloop.run(main())

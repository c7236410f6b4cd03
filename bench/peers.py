"""The peers of bench/knowledge.py: the same chunks and vectors in pgvector by hand, in chromadb and in lancedb,
searched by vectors.

pgvector by hand is the usual do-it-yourself solution: one table for all bases, one HNSW index on it, conditions in
WHERE; rows are read with their texts. chromadb and lancedb run in this process, on disk; one that is not installed is
left out (both are Apache-2.0).
"""

import importlib.util
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Exact = list[set[int]]
Find = Callable[[Vectors], Awaitable[list[int]]]
LIMIT = 10
BATCH = 5_000


async def measured(name: str, queries: Vectors, exact: Exact, find: Find) -> None:
    await find(queries[0])
    taken, recalls, found = [], [], []
    for number, vector in enumerate(queries):
        begun = time.perf_counter()
        ids = await find(vector)
        taken.append((time.perf_counter() - begun) * 1000)
        recalls.append(len(set(ids) & exact[number]) / len(exact[number]))
        found.append(len(ids))
    taken.sort()
    few = f"  (as few as {min(found)} found)" if min(found) < LIMIT else ""
    latency = f"p50 {statistics.median(taken):6.1f} ms  p99 {taken[int(len(taken) * 0.99)]:6.1f} ms"
    print(f"{name:64} {latency}  recall@10 {statistics.mean(recalls):.4f}{few}", flush=True)


async def by_hand(
    dsn: str,
    bodies: Sequence[str],
    vectors: Vectors,
    tenths: Sequence[int],
    queries: Vectors,
    exact: Exact,
    exact_tenth: Exact,
) -> None:
    print("\npgvector by hand: one table, one HNSW (pgvector's own settings unless it says so), WHERE")
    connection = await asyncpg.connect(dsn)
    try:
        begun = time.perf_counter()
        await connection.execute(
            "DROP TABLE IF EXISTS glued; CREATE TABLE glued (id int PRIMARY KEY, base_id int NOT NULL, tenth int NOT "
            "NULL, text text NOT NULL,"
            " embedding halfvec(384) NOT NULL); CREATE INDEX ON glued (base_id)"
        )
        insert = (
            "INSERT INTO glued SELECT $1 + n, 1, ($2::int[])[n + 1], ($3::text[])[n + 1], ($4::real[])[n * 384 + 1 : "
            "n * 384 + 384]::halfvec"
            " FROM generate_series(0, $5 - 1) AS n"
        )
        for start in range(0, len(bodies), 500):
            span = slice(start, start + 500)
            await connection.execute(
                insert, start, list(tenths[span]), list(bodies[span]), vectors[span].ravel().tolist(), len(bodies[span])
            )
        await connection.execute("SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0")
        await connection.execute("CREATE INDEX ON glued USING hnsw (embedding halfvec_ip_ops)", timeout=1_800)
        await connection.execute("VACUUM ANALYZE glued", timeout=600)
        print(f"filled and indexed in {time.perf_counter() - begun:.0f} s")

        def finding(condition: str) -> Find:
            nearest = (
                f"SELECT id, text FROM glued WHERE base_id = 1{condition} "
                f"ORDER BY embedding <#> $1::real[]::halfvec(384) LIMIT {LIMIT}"
            )

            async def find(vector: Vectors) -> list[int]:
                return [row["id"] for row in await connection.fetch(nearest, vector.tolist())]

            return find

        for name, settings in (
            ("as it comes (ef_search 40)", "RESET ALL"),
            ("ef_search 200", "SET hnsw.ef_search = 200"),
            ("ef_search 600, iterative scan", "SET hnsw.ef_search = 600; SET hnsw.iterative_scan = strict_order"),
        ):
            await connection.execute(settings)
            await measured(f"{name}: semantic", queries, exact, finding(""))
            await measured(f"{name}: semantic, filter leaves 10 %", queries, exact_tenth, finding(" AND tenth = 3"))
    finally:
        await connection.execute("DROP TABLE IF EXISTS glued")
        await connection.close()


async def chroma(
    folder: Path,
    bodies: Sequence[str],
    vectors: Vectors,
    tenths: Sequence[int],
    queries: Vectors,
    exact: Exact,
    exact_tenth: Exact,
) -> None:
    import chromadb  # noqa: PLC0415 — only where it is installed

    print(f"\nchromadb {chromadb.__version__} in this process, its own settings")
    begun = time.perf_counter()
    client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
    chunks = client.create_collection("chunks", metadata={"hnsw:space": "ip"}, embedding_function=None)
    for start in range(0, len(bodies), BATCH):
        span = slice(start, start + BATCH)
        chunks.add(
            [str(start + at) for at in range(len(bodies[span]))],
            embeddings=vectors[span],
            documents=list(bodies[span]),
            metadatas=[{"tenth": tenth} for tenth in tenths[span]],
        )
    print(f"filled and indexed in {time.perf_counter() - begun:.0f} s")

    def finding(where: dict[str, Any] | None) -> Find:
        async def find(vector: Vectors) -> list[int]:
            return [
                int(one)
                for one in chunks.query(
                    query_embeddings=vector[None], n_results=LIMIT, where=where, include=["documents"]
                )["ids"][0]
            ]

        return find

    await measured("semantic", queries, exact, finding(None))
    await measured("semantic, filter leaves 10 %", queries, exact_tenth, finding({"tenth": 3}))


async def lance(
    folder: Path,
    bodies: Sequence[str],
    vectors: Vectors,
    tenths: Sequence[int],
    queries: Vectors,
    exact: Exact,
    exact_tenth: Exact,
) -> None:
    import lancedb  # noqa: PLC0415 — the same
    import pyarrow  # noqa: PLC0415

    print(f"\nlancedb {lancedb.__version__} in this process")
    begun = time.perf_counter()
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), vectors.shape[1])
    table = lancedb.connect(str(folder)).create_table(
        "chunks",
        pyarrow.table({"id": np.arange(len(bodies)), "vector": column, "text": list(bodies), "tenth": list(tenths)}),
    )
    print(f"filled in {time.perf_counter() - begun:.0f} s")

    def finding(where: str | None, **how: Any) -> Find:
        async def find(vector: Vectors) -> list[int]:
            search = table.search(vector).metric("dot").select(["id", "text", "_distance"]).limit(LIMIT)
            for setting, value in how.items():
                search = getattr(search, setting)(value)
            return [row["id"] for row in (search.where(where, prefilter=True) if where else search).to_list()]

        return find

    await measured("no index: semantic (20 queries)", queries[:20], exact, finding(None))
    await measured(
        "no index: semantic, filter leaves 10 % (20 queries)", queries[:20], exact_tenth, finding("tenth = 3")
    )
    begun = time.perf_counter()
    table.create_index(metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, vector_column_name="vector")
    table.create_scalar_index("tenth", index_type="BITMAP")
    print(f"IVF_HNSW_SQ of one partition, and a bitmap, built in {time.perf_counter() - begun:.0f} s")
    for name, how in (("as it comes", {}), ("ef 200, 10 times as many refined", {"ef": 200, "refine_factor": 10})):
        await measured(f"{name}: semantic", queries, exact, finding(None, **how))
        await measured(f"{name}: semantic, filter leaves 10 %", queries, exact_tenth, finding("tenth = 3", **how))


async def all_peers(
    dsn: str,
    folder: Path,
    bodies: Sequence[str],
    vectors: Vectors,
    tenths: Sequence[int],
    queries: Vectors,
    exact: Exact,
    exact_tenth: Exact,
) -> None:
    what = (bodies, vectors, tenths, queries, exact, exact_tenth)
    await by_hand(dsn, *what)
    for name, peer in (("chromadb", chroma), ("lancedb", lance)):
        if importlib.util.find_spec(name):
            await peer(folder / name, *what)
        else:
            print(f"\n{name}: not installed")

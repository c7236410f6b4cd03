#!/usr/bin/env python3
"""The local embedder: int8 (the default) beside full precision, on retrieval, speed and size.

    python bench/embedding.py --cranfield ../shared/retrieval/cranfield

Prints nDCG@10, recall@10 and MRR of an exact vector search over the Cranfield collection (1,400 abstracts, 225 queries)
with
95 % bootstrap intervals, the interval of the per-query difference, chunks per second, milliseconds per query, load
time, memory.
"""

import argparse
import asyncio
import math
import random
import re
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stoa.embedding import LocalEmbedder

DEPTH = 10
SAMPLES = 2_000


def collection(folder: Path) -> tuple[list[str], list[str], list[str], dict[int, dict[str, int]]]:
    """Document ids and texts, query texts, and per query (from 1) the gain of each relevant document."""
    ids, texts = [], []
    for doc in re.findall(r"<doc>(.*?)</doc>", (folder / "cran.all.1400.xml").read_text("utf-8"), re.DOTALL):
        text = " ".join(
            " ".join(re.findall(rf"<{tag}>(.*?)</{tag}>", doc, re.DOTALL)) for tag in ("title", "text")
        ).strip()
        if text:
            ids.append(re.search(r"<docno>\s*(\d+)\s*</docno>", doc)[1])  # type: ignore[index]
            texts.append(re.sub(r"\s+", " ", text))
    queries = [
        re.sub(r"\s+", " ", query).strip()
        for query in re.findall(r"<title>(.*?)</title>", (folder / "cran.qry.xml").read_text("utf-8"), re.DOTALL)
    ]
    gains: dict[int, dict[str, int]] = {}
    for line in (folder / "cranqrel.trec.txt").read_text("utf-8").splitlines():
        if line.split():
            query, _, doc, gain = line.split()
            if int(gain) > 0:
                gains.setdefault(int(query), {})[doc] = int(gain)
    return ids, texts, queries, gains


def judged(order: list[str], relevant: dict[str, int]) -> tuple[float, float, float]:
    """nDCG@10, recall@10, reciprocal rank of one query."""
    found = [relevant.get(doc, 0) for doc in order[:DEPTH]]
    ideal = sorted(relevant.values(), reverse=True)[:DEPTH]
    dcg, best = (
        sum((2**gain - 1) / math.log2(rank + 2) for rank, gain in enumerate(gains)) for gains in (found, ideal)
    )
    first = next((rank for rank, doc in enumerate(order, 1) if doc in relevant), None)
    return dcg / best, sum(gain > 0 for gain in found) / len(relevant), 1 / first if first else 0.0


def interval(values: list[float]) -> str:
    rng = random.Random(20261123)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(SAMPLES))
    return f"{sum(values) / len(values):+.4f} [{means[int(SAMPLES * 0.025)]:+.4f}, {means[int(SAMPLES * 0.975)]:+.4f}]"


async def measure(
    precision: str, texts: list[str], queries: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    embedder = LocalEmbedder(Path(tempfile.gettempdir()), precision=precision)  # type: ignore[arg-type]
    begun = time.perf_counter()
    await embedder.prepare()
    loaded = time.perf_counter() - begun
    begun = time.perf_counter()
    documents = np.concatenate([await embedder.embed(texts[start : start + 32]) for start in range(0, len(texts), 32)])
    seconds = time.perf_counter() - begun
    asked, rows = [], []
    for query in queries:
        begun = time.perf_counter()
        rows.append((await embedder.embed([query]))[0])
        asked.append((time.perf_counter() - begun) * 1000)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{precision}: load {loaded:.2f} s, {len(texts) / seconds:.0f} abstracts/s, query p50 "
        f"{sorted(asked)[len(asked) // 2]:.1f} ms,"
        f" peak memory +{memory:.0f} MB"
    )
    await embedder.close()
    return documents, np.stack(rows)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cranfield",
        type=Path,
        required=True,
        help="the folder with cran.all.1400.xml, cran.qry.xml and cranqrel.trec.txt",
    )
    ids, texts, queries, gains = collection(parser.parse_args().cranfield)
    print(f"{len(texts)} documents, {len(queries)} queries, {sum(map(len, gains.values()))} judgements")
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for precision in ("int8", "fp32"):
        documents, asked = await measure(precision, texts, queries)
        orders = np.argsort(-(asked @ documents.T), axis=1, kind="stable")
        scores[precision] = [
            judged([ids[index] for index in orders[query - 1]], relevant) for query, relevant in sorted(gains.items())
        ]
    for number, name in enumerate(("nDCG@10", "recall@10", "MRR")):
        int8, fp32 = ([one[number] for one in scores[precision]] for precision in ("int8", "fp32"))
        print(
            f"{name:10} int8 {interval(int8)}  fp32 {interval(fp32)}  "
            f"int8 - fp32 {interval([a - b for a, b in zip(int8, fp32, strict=True)])}"
        )


if __name__ == "__main__":
    asyncio.run(main())

#!/usr/bin/env python3
"""Retrieval quality on the Cranfield collection: Stoa's keyword, semantic and hybrid search compared with a plain BM25
library and a plain vector store.

    python bench/retrieval.py --cranfield ../shared/retrieval/cranfield --http    # as a client sees it
    pip install bm25s lancedb          # the peers; a missing one is left out
    python bench/retrieval.py --cranfield ../shared/retrieval/cranfield

1,400 abstracts, 225 queries, 1,837 judgements. Every system gets the same texts; Stoa splits and embeds them as in the
server, the vector store gets one vector (all-MiniLM-L6-v2, int8) for each. Prints nDCG@10, recall@10 and MRR with 95 %
bootstrap intervals, and the interval of the per-query difference to Stoa's hybrid search. Then the same
cross-validated: the weight of hybrid search is chosen on the other folds, by nDCG, so that no query influences its own
weight. With `--sweep` also every weight that was tried.
"""

import argparse
import asyncio
import hashlib
import importlib.util
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from embedding import collection
from ingestion import bring_in, serving
from numpy.typing import NDArray

from stoa.bases.preparing import title_of
from stoa.bases.retrieval_metrics import MEASURES, estimate, judged
from stoa.db import Database
from stoa.db.embedded import start_embedded
from stoa.db.internal import internal
from stoa.db.migrate import migrate
from stoa.documents import Passage, embedded_text, fitted, passages
from stoa.embedding import MINILM, MULTILINGUAL, Calibrated, DirectoryEmbedder, LocalEmbedder, MultilingualEmbedder
from stoa.index import Index
from stoa.index.types import BaseKey, Mode, NewChunk, NewItem, Query
from stoa.kernel.principal import Principal

DEPTH = 20
WEIGHTS = tuple(step / 10 for step in range(11))
SHUFFLES = 20
Judged = Mapping[int, Mapping[str, float]]
Vectors = NDArray[np.float32]
Rankings = Mapping[int, Sequence[str]]


def embedder_of(name: str) -> LocalEmbedder | MultilingualEmbedder | DirectoryEmbedder:
    """In the form of STOA_EMBEDDER."""
    if name == MINILM:
        return LocalEmbedder(Path(tempfile.gettempdir()))
    return MultilingualEmbedder() if name == MULTILINGUAL else DirectoryEmbedder(Path(name))


async def vectors_of(texts: Sequence[str], cache: Path, name: str = MINILM, *, asked: bool = False) -> Vectors:
    """Embedded once; later runs read them from `cache`."""
    embedder = embedder_of(name)
    kind = f"{name}{chr(0)}{asked}{chr(0)}" if name != MINILM else ""
    path = cache / f"{hashlib.sha256((kind + chr(0).join(texts)).encode()).hexdigest()[:16]}.npy"
    if path.exists():
        return np.load(path)
    if asked:
        found = np.stack([await embedder.embed_query(text) for text in texts])
    else:
        found = np.concatenate([await embedder.embed(texts[start : start + 32]) for start in range(0, len(texts), 32)])
    await embedder.close()
    cache.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return found


async def cut_as_the_product(texts: Sequence[str], name: str = MINILM) -> list[list[Passage]]:
    """Splits by structure, then by the embedder's tokens."""
    embedder = embedder_of(name)
    await embedder.prepare()

    def tokenize(some: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        return [tokens.spans for tokens in embedder.tokenize(some)]

    cut = [passages(text) for text in texts]
    found = [fitted(each, title_of(each), embedder.tokens_max, tokenize) for each in cut]
    await embedder.close()
    return found


class Stoa:
    """The index on an embedded database, as every search route uses it. Texts are split and embedded as in the server;
    a text counts once."""

    def __init__(self, database: Database, ids: Sequence[str], base: int = 3) -> None:
        self.database = database
        self.index = Index()
        self.key = BaseKey(UUID(int=1), UUID(int=2), UUID(int=base))
        self.unrelated = 0.0
        self.names = {UUID(int=1_000 * base + number): name for number, name in enumerate(ids)}

    async def fill(self, texts: Sequence[str], cache: Path, name: str = MINILM, *, embed: bool = True) -> None:
        cut = await cut_as_the_product(texts, name)
        embedder = embedder_of(name)
        self.unrelated = embedder.unrelated if isinstance(embedder, Calibrated) else 0.0
        flat = [embedded_text(passage, title_of(each)) for each in cut for passage in each]
        vectors = await vectors_of(flat, cache, name) if embed else np.full((len(flat), 8), 8**-0.5, np.float32)
        start = 0
        for item_id, each in zip(self.names, cut, strict=True):
            chunks = [
                NewChunk(one.text, hashlib.sha256(one.text.encode()).digest(), heading=one.heading) for one in each
            ]
            found = vectors[start : start + len(each)]
            start += len(each)
            async with internal(self.database) as tx:
                await self.index.replace(tx, self.key, NewItem(item_id, {}, chunks, found, embedder=name))

    async def rank(self, queries: Mapping[int, tuple[str, Vectors | None]], **how: Any) -> Rankings:
        found: dict[int, Sequence[str]] = {}
        for number, (text, vector) in queries.items():
            async with self.database.tenant(Principal(self.key.org_id, self.key.project_id, UUID(int=9))) as tx:
                query = Query(text, limit=DEPTH, one_per_item=True, unrelated=self.unrelated, **how)
                hits = (await self.index.search(tx, self.key, query, vector)).hits
            found[number] = [self.names[hit.item_id] for hit in hits]
        return found


def plain_bm25(ids: Sequence[str], texts: Sequence[str], queries: Mapping[int, tuple[str, Vectors]]) -> Rankings:
    import bm25s  # noqa: PLC0415 — only where it is installed

    model = bm25s.BM25(k1=1.2, b=0.75)
    model.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize([text for text, _ in queries.values()], stopwords="en", show_progress=False)
    places, _ = model.retrieve(asked, k=DEPTH, show_progress=False)
    return {number: [ids[place] for place in row] for number, row in zip(queries, places, strict=True)}


def plain_vectors(
    ids: Sequence[str], vectors: Vectors, queries: Mapping[int, tuple[str, Vectors]], folder: Path
) -> Rankings:
    import lancedb  # noqa: PLC0415 — the same

    table = lancedb.connect(str(folder)).create_table(
        "chunks", [{"id": name, "vector": vector} for name, vector in zip(ids, vectors, strict=True)]
    )
    return {
        number: [row["id"] for row in table.search(vector).metric("dot").limit(DEPTH).to_list()]
        for number, (_, vector) in queries.items()
    }


def report(name: str, rankings: Rankings, gains: Mapping[int, Mapping[str, int]], beside: Rankings | None) -> None:
    mine, other = (
        {number: judged(one[number], gains[number]) for number in gains} if one is not None else None
        for one in (rankings, beside)
    )
    assert mine is not None
    show(name, mine, other)


def show(name: str, mine: Judged, other: Judged | None) -> None:
    """Each measure with its interval, then the per-query difference of `other` from it."""
    shown = []
    for measure in MEASURES:
        value = estimate([mine[number][measure] for number in mine])
        text = f"{measure} {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"
        if other is not None:
            gap = estimate([other[number][measure] - mine[number][measure] for number in mine])
            text += f" {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        shown.append(text)
    print(f"{name:28} {'  '.join(shown)}")


def held_out(by_weight: Mapping[float, Judged], folds: int) -> tuple[Judged, list[float]]:
    """Every query, measured with the weight that was best for the queries of the other folds, averaged over several
    ways to fold; and those weights."""
    numbers = sorted(next(iter(by_weight.values())))
    draw = random.Random(20261125)
    found: dict[int, list[Mapping[str, float]]] = {number: [] for number in numbers}
    chosen: list[float] = []
    for _ in range(SHUFFLES):
        draw.shuffle(numbers)
        for fold in range(folds):
            mine, others = numbers[fold::folds], [number for at, number in enumerate(numbers) if at % folds != fold]
            best = max(by_weight, key=lambda weight: sum(by_weight[weight][number]["ndcg@10"] for number in others))
            chosen.append(best)
            for number in mine:
                found[number].append(by_weight[best][number])
    return {
        number: {measure: statistics.mean(one[measure] for one in each) for measure in MEASURES}
        for number, each in found.items()
    }, chosen


async def cross_validated(
    stoa: Stoa, queries: Mapping[int, tuple[str, Vectors]], gains: Mapping[int, Mapping[str, int]], folds: int
) -> None:
    rankings = {weight: await stoa.rank(queries, alpha=weight) for weight in WEIGHTS}
    by_weight = {
        weight: {number: judged(found[number], gains[number]) for number in gains} for weight, found in rankings.items()
    }
    mine, chosen = held_out(by_weight, folds)
    counts = ", ".join(f"{weight} {chosen.count(weight)} times" for weight in WEIGHTS if weight in chosen)
    print(f"\n{folds} folds, {SHUFFLES} ways to fold; the weight chosen on the other folds: {counts}")
    show("stoa hybrid, held out", mine, None)
    for name, mode in (("stoa keyword", Mode.KEYWORD), ("stoa semantic", Mode.SEMANTIC)):
        ranked = await stoa.rank(queries, mode=mode)
        show(name, {number: judged(ranked[number], gains[number]) for number in gains}, mine)


async def over_http(ids: Sequence[str], texts: Sequence[str], asked: Mapping[int, str]) -> Mapping[str, Rankings]:
    """A server's answers with default settings: every document is uploaded as a file and searched with
    `group_by=document`."""
    found: dict[str, dict[int, Sequence[str]]] = {"hybrid": {}, "keyword": {}, "semantic": {}}
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        Path(folder).chmod(0o755)
        async with serving(Path(folder)) as (http, _):
            base = (await http.post("/v1/knowledgebases", json={"name": "Bench"})).json()["data"]["id"]
            files = [(f"{name}.txt", text.encode()) for name, text in zip(ids, texts, strict=True)]
            await bring_in(http, base, files)
            for mode, rankings in found.items():
                for number, text in asked.items():
                    body = {"query": text, "limit": DEPTH, "group_by": "document", "mode": mode}
                    answer = await http.post(f"/kb/{base}/v1/documents/search", json=body)
                    assert answer.status_code == 200, answer.text
                    rankings[number] = [one["metadata"]["source"].removesuffix(".txt") for one in answer.json()["data"]]
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cranfield",
        type=Path,
        required=True,
        help="the folder with cran.all.1400.xml, cran.qry.xml and cranqrel.trec.txt",
    )
    parser.add_argument("--sweep", action="store_true", help="every weight of hybrid, too")
    parser.add_argument("--http", action="store_true", help="through a server over HTTP, and nothing else")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "stoa-bench-vectors")
    options = parser.parse_args()
    ids, texts, asked, gains = collection(options.cranfield)
    if options.http:
        found = await over_http(ids, texts, {number: asked[number - 1] for number in sorted(gains)})
        for mode, rankings in found.items():
            report(f"stoa {mode}, over HTTP", rankings, gains, None if mode == "hybrid" else found["hybrid"])
        return
    vectors, query_vectors = await vectors_of(texts, options.cache), await vectors_of(asked, options.cache)
    queries = {number: (asked[number - 1], query_vectors[number - 1]) for number in sorted(gains)}
    print(
        f"{len(texts)} documents, {len(queries)} queries, {sum(map(len, gains.values()))} judgements; differences "
        f"are hybrid - the row's, per query"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        embedded = await start_embedded(Path(folder) / "cluster")
        await migrate(embedded.dsn)
        database = await Database.open(embedded.dsn, connections_max=2)
        try:
            stoa = Stoa(database, ids)
            await stoa.fill(texts, options.cache)
            hybrid = await stoa.rank(queries)
            report("stoa hybrid", hybrid, gains, None)
            report("stoa keyword", await stoa.rank(queries, mode=Mode.KEYWORD), gains, hybrid)
            report("stoa semantic", await stoa.rank(queries, mode=Mode.SEMANTIC), gains, hybrid)
            if importlib.util.find_spec("bm25s"):
                report("bm25s", plain_bm25(ids, texts, queries), gains, hybrid)
            if importlib.util.find_spec("lancedb"):
                report(
                    "lancedb, the same vectors",
                    plain_vectors(ids, vectors, queries, Path(folder) / "lance"),
                    gains,
                    hybrid,
                )
            await cross_validated(stoa, queries, gains, options.folds)
            for alpha in WEIGHTS if options.sweep else ():
                report(f"stoa hybrid, alpha {alpha}", await stoa.rank(queries, alpha=alpha), gains, hybrid)
        finally:
            await database.close()
            await embedded.stop()


if __name__ == "__main__":
    asyncio.run(main())

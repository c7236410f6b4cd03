#!/usr/bin/env python3
"""Retrieval in eleven languages: the paragraphs of XQuAD and its questions, with default settings.

    python bench/languages.py --xquad FOLDER           # xquad.<language>.json of github.com/google-deepmind/xquad

240 paragraphs per language, split and embedded as the server does it, found through the index on an embedded database;
a paragraph counts once (`group_by=document`). Prints nDCG@10 of keyword, semantic and hybrid search per language.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from retrieval import Stoa, vectors_of

from stoa.bases.retrieval_metrics import estimate, judged
from stoa.db import Database
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.embedding import MINILM
from stoa.index.types import Mode

LANGUAGES = ("en", "de", "es", "ro", "tr", "ru", "el", "ar", "hi", "zh", "th", "vi")


def paragraphs(folder: Path, language: str, every: int) -> tuple[list[str], list[str], dict[int, dict[str, int]]]:
    """Texts, questions, and per question (from 1) the paragraph that answers it."""
    [found] = [path for path in folder.glob(f"*{language}.json") if path.stem.endswith(language)]
    texts: list[str] = []
    asked: list[str] = []
    gains: dict[int, dict[str, int]] = {}
    for article in json.loads(found.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                asked.append(question["question"])
                gains[len(asked)] = {str(len(texts)): 1}
            texts.append(paragraph["context"])
    return texts, asked, {number: gain for number, gain in gains.items() if number % every == 1 or every == 1}


async def measure(database: Database, options: argparse.Namespace, language: str, base: int) -> None:
    texts, asked, gains = paragraphs(options.xquad, language, options.every)
    stoa = Stoa(database, [str(number) for number in range(len(texts))], base)
    modes: Sequence[Mode] = (Mode.KEYWORD,) if options.words else (Mode.KEYWORD, Mode.SEMANTIC, Mode.HYBRID)
    await stoa.fill(texts, options.cache, options.embedder, embed=not options.words)
    vectors = (
        None
        if options.words
        else await vectors_of([asked[number - 1] for number in gains], options.cache, options.embedder, asked=True)
    )
    queries = {
        number: (asked[number - 1], None if vectors is None else vectors[place]) for place, number in enumerate(gains)
    }
    shown: list[str] = []
    for mode in modes:
        ranked = await stoa.rank(queries, mode=mode)
        shown.append(f"{mode} {estimate([judged(ranked[n], gains[n])['ndcg@10'] for n in gains]).mean:.4f}")
    for alpha in options.alphas if not options.words else ():
        ranked = await stoa.rank(queries, alpha=alpha, mode=Mode.HYBRID)
        shown.append(f"alpha {alpha} {estimate([judged(ranked[n], gains[n])['ndcg@10'] for n in gains]).mean:.4f}")
    print(f"{language}  {len(gains)} questions  {'  '.join(shown)}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xquad", type=Path, required=True)
    parser.add_argument("--languages", nargs="*", default=LANGUAGES)
    parser.add_argument("--embedder", default=MINILM, help="as STOA_EMBEDDER names it")
    parser.add_argument("--every", type=int, default=1, help="of so many questions, one")
    parser.add_argument("--words", action="store_true", help="keyword search alone: nothing is embedded")
    parser.add_argument("--alphas", type=float, nargs="*", default=())
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "stoa-bench-vectors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        embedded = await start_embedded(Path(folder) / "cluster")
        await migrate(embedded.dsn)
        database = await Database.open(embedded.dsn, connections_max=2)
        try:
            for number, language in enumerate(options.languages):
                await measure(database, options, language, 100 + number)
        finally:
            await database.close()
            await embedded.stop()


if __name__ == "__main__":
    asyncio.run(main())

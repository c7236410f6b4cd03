#!/usr/bin/env python3
"""Ingestion: a server that processes files, compared with the raw reader and the raw embedder on the same texts in the
same run.

    python bench/ingestion.py [--files 24] [--sections 25] [--pages 400]

Prints pages per second of a long PDF (the reader in its own process, including its start); chunks per second of the
embedder alone on the chunks of a folder; and chunks per second of `stoa serve` over HTTP, from the first upload until
the last item is processed: read, split, embedded, indexed, committed. Rounds alternate, so that other load affects
both. It also prints the milliseconds of CPU per chunk of the embedder, and of the server with its readers and its
database, which other load changes little. Budgets (design section 7): 200 pages/s; 90 % of the embedder's raw speed. At
the end it searches over HTTP, one query after the other, each new and so embedded: first alone, then while a folder is
uploaded to the same base.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from stoa.documents import Converter
from stoa.embedding import LocalEmbedder

KEY = "stoa_acc_" + "b" * 64
BATCH = 32
WORDS = tuple(
    word
    for line in (
        "stream event run journal sequence reader node lease commit answer",
        "token worker office travel paper contract price budget river garden",
    )
    for word in line.split()
)


def sentence(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(6, 14))).capitalize() + f" {dice.randint(1, 10_000)}."


def document(dice: random.Random, sections: int) -> str:
    return "\n\n".join(
        f"## Section {number}\n\n{' '.join(sentence(dice) for _ in range(11))}" for number in range(sections)
    )


def long_pdf(pages: int, dice: random.Random) -> bytes:
    """A PDF of `pages` pages of 40 lines, each with different text."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for _ in range(pages):
        lines = b" ".join(b"(%s) Tj T*" % sentence(dice).encode() for _ in range(40))
        content = b"BT /F1 10 Tf 12 TL 50 780 Td " + lines + b" ET"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
        resources = b"/Resources<</Font<</F1 3 0 R>>>>"
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]%s/Contents %d 0 R>>" % (resources, len(objects))
        )
        kids.append(len(objects))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(b"%d 0 R" % kid for kid in kids), pages)
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (len(objects) + 1)


def cpu_seconds(pid: int) -> float:
    """Of a process, its children, and its children that have ended."""
    try:
        spent = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])) / os.sysconf(
            "SC_CLK_TCK"
        )
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return spent + sum(cpu_seconds(int(child)) for child in children)


async def reader_alone(path: Path, pages: int) -> float:
    converter = Converter()
    began = time.perf_counter()
    found = await converter.convert(path, name="long.pdf")
    seconds = time.perf_counter() - began
    await converter.close()
    assert found.pages == pages
    assert not found.warnings, found.warnings
    return pages / seconds


async def embedder_alone(embedder: LocalEmbedder, texts: list[str]) -> float:
    began = time.perf_counter()
    for start in range(0, len(texts), BATCH):
        await embedder.embed(texts[start : start + BATCH])
    return len(texts) / (time.perf_counter() - began)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """`stoa serve` with its data in a folder: a client with its key, and its process id."""
    environment = {**os.environ, "STOA_BOOTSTRAP_KEY": KEY, "STOA_LOG_LEVEL": "warning"}
    arguments = ("-m", "stoa", "serve", "--port", "0", "--data-dir", str(folder / "data"))
    server = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        while not (line := (await server.stdout.readline()).decode()).startswith("Stoa is ready at "):
            assert line, "the server did not start"
        async with httpx.AsyncClient(
            base_url=line.split()[4], headers={"Authorization": f"Bearer {KEY}"}, timeout=120
        ) as http:
            yield http, server.pid
    finally:
        server.terminate()
        await server.wait()


async def server_alone(http: httpx.AsyncClient, files: list[tuple[str, bytes]]) -> float:
    """Chunks per second, from the first upload to the last item's end."""
    base = (await http.post("/v1/knowledgebases", json={"name": "Bench"})).json()["data"]["id"]
    began = time.perf_counter()
    await bring_in(http, base, files)
    seconds = time.perf_counter() - began
    shown = (await http.get(f"/v1/knowledgebases/{base}")).json()["data"]
    await http.delete(f"/v1/knowledgebases/{base}")
    return shown["chunk_count"] / seconds


async def bring_in(http: httpx.AsyncClient, base: str, files: list[tuple[str, bytes]]) -> None:
    for start in range(0, len(files), 20):
        answer = await http.post(
            f"/v1/knowledgebases/{base}/upload", files=[("files", one) for one in files[start : start + 20]]
        )
        assert answer.status_code == 201, answer.text
    while (await http.get(f"/v1/knowledgebases/{base}/items?status=pending&status=processing&page_size=1")).json()[
        "pagination"
    ]["total_count"]:
        await asyncio.sleep(0.5)


async def searched(http: httpx.AsyncClient, base: str, dice: random.Random, until: asyncio.Event) -> list[float]:
    """Milliseconds of each search, until `until` and at least 200 searches."""
    taken: list[float] = []
    while len(taken) < 200 or not until.is_set():
        began = time.perf_counter()
        answer = await http.post(f"/kb/{base}/v1/documents/search", json={"query": sentence(dice)})
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
    return sorted(taken)


async def searched_meanwhile(http: httpx.AsyncClient, files_count: int, sections: int, dice: random.Random) -> None:
    base = (await http.post("/v1/knowledgebases", json={"name": "Searched"})).json()["data"]["id"]
    some, others = (
        [(f"{half}-{one}.md", document(dice, sections).encode()) for one in range(files_count)] for half in range(2)
    )
    await bring_in(http, base, some)
    over = asyncio.Event()
    over.set()
    report("searches, nothing coming in", await searched(http, base, dice, over))
    over.clear()

    async def bring_others() -> None:
        await bring_in(http, base, others)
        over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(bring_others())
        meanwhile = group.create_task(searched(http, base, dice, over))
    report("searches while files come in", meanwhile.result())


def report(name: str, taken: list[float]) -> None:
    print(
        f"{name:30} p50 {statistics.median(taken):6.1f} ms   p99 {taken[int(len(taken) * 0.99)]:6.1f} ms   "
        f"{len(taken)} of them"
    )


async def chunks_of(folder: Path, files: list[tuple[str, bytes]]) -> list[str]:
    converter, path, texts = Converter(), folder / "one", []
    for name, content in files:
        path.write_bytes(content)
        texts += [passage.text for passage in (await converter.convert(path, name=name)).passages]
    await converter.close()
    return texts


async def run(folder: Path, files_count: int, sections: int, pages: int, rounds: int) -> None:
    pdf = folder / "long.pdf"
    pdf.write_bytes(long_pdf(pages, random.Random(1)))
    embedder = LocalEmbedder(folder / "models")
    await embedder.embed(["warm"] * 3)
    names = (
        "reader, pages/s",
        "embedder, chunks/s",
        "stoa serve, chunks/s",
        "stoa / embedder",
        "embedder, CPU ms/chunk",
        "stoa serve, CPU ms/chunk",
    )
    results: dict[str, list[float]] = {name: [] for name in names}
    try:
        async with serving(folder) as (http, pid):
            postmaster = int(next((folder / "data").rglob("postmaster.pid")).read_text().splitlines()[0])
            for number in range(rounds):
                # Every round's texts are new: repeated ones would not be embedded again.
                dice = random.Random(number)
                files = [(f"{one}.md", document(dice, sections).encode()) for one in range(files_count)]
                texts = await chunks_of(folder, files)
                results["reader, pages/s"].append(await reader_alone(pdf, pages))
                before = time.process_time()
                results["embedder, chunks/s"].append(await embedder_alone(embedder, texts))
                results["embedder, CPU ms/chunk"].append((time.process_time() - before) * 1000 / len(texts))
                before = cpu_seconds(pid) + cpu_seconds(postmaster)
                results["stoa serve, chunks/s"].append(await server_alone(http, files))
                results["stoa serve, CPU ms/chunk"].append(
                    (cpu_seconds(pid) + cpu_seconds(postmaster) - before) * 1000 / len(texts)
                )
                results["stoa / embedder"].append(
                    results["stoa serve, chunks/s"][-1] / results["embedder, chunks/s"][-1]
                )
            print(
                f"{files_count} files of {sections} sections, {len(texts)} chunks, {rounds} rounds; a PDF of {pages} "
                f"pages"
            )
            for name, values in results.items():
                print(
                    f"{name:25} median {statistics.median(values):8.2f}   "
                    f"{json.dumps([round(value, 2) for value in values])}"
                )
            await searched_meanwhile(http, files_count, sections, random.Random(rounds))
    finally:
        await embedder.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--sections", type=int, default=25)
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as directory:
        Path(directory).chmod(0o755)
        asyncio.run(run(Path(directory), options.files, options.sections, options.pages, options.rounds))

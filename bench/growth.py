#!/usr/bin/env python3
"""What a large database costs: every figure compared with an empty one, in one run.

    python bench/growth.py [--scale small|medium|full | --conversations N] [--data DIR] [--rounds 15]

Fills a database (an interrupted fill continues; the database itself generates the rows, in batches) and starts two
servers, one on a nearly empty database (50 conversations) and one on the full one. Each figure is measured on both in
turn; it prints the lower quartiles in milliseconds (they are least affected by other load) and their ratio. small:
20,000 conversations; medium: 60,000; full: 200,000. A conversation has 10 messages, 5 runs, 5 lines of the bill and 50
events; for each there is a trace of five spans that another program sent, and for each four hundred a knowledge base of
about two hundred chunks (or --bases in all: 5,000 are a million chunks, and take an hour). full has 1,000 projects.
With --data the databases are kept and used again. --routes measures every route that reads, of every host, with every
filter and order (growth_routes.py).
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import asyncpg
from bed import KEY, machine, serving
from growth_routes import bench as bench_routes

from stoa.cli.client import call
from stoa.db.embedded import start_embedded
from stoa.db.sql import parse

SCALES = {"small": 20_000, "medium": 60_000, "full": 200_000}
EMPTY, BATCH, PROJECTS, FEW = 50, 2_000, 20, 10
OF_A_PROJECT, OF_A_BASE, OF_A_THING = 200, 400, 10
"""How many conversations there are for each knowledge base."""
WORDS_OF_A_BASE = 12_000
"""About two hundred chunks."""
BASE = "Growth"
SQL = parse(Path(__file__).with_suffix(".sql").read_text(), "growth.sql")


@dataclass
class Place:
    """A server on one of the two databases."""

    data_dir: Path
    url: str = ""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return call(method, self.url, KEY, path, body)


def born(data_dir: Path) -> None:
    """A first start creates schema, organization, key and models; then a knowledge base with one document is
    created."""
    with serving(data_dir) as (_, url):
        place = Place(data_dir, url)
        held = place.ask("GET", "/v1/knowledgebases")["data"]
        if held and held[0]["chunk_count"]:
            return
        project = place.ask("GET", "/v1/projects?sort=created_at")["data"][0]["id"]
        base = held[0]["id"] if held else place.ask(
            "POST", "/v1/knowledgebases", {"name": BASE, "project_id": project})["data"]["id"]  # fmt: skip
        draw = random.Random(7)
        words = [f"w{int(draw.random() ** 3 * 20_000)}" for _ in range(WORDS_OF_A_BASE)]
        text = "\n\n".join(" ".join(words[at : at + 80]) + "." for at in range(0, len(words), 80))
        upload(place, f"/v1/knowledgebases/{base}/upload", text)
        while not place.ask("GET", f"/v1/knowledgebases/{base}")["data"]["chunk_count"]:
            time.sleep(1)


def upload(place: Place, path: str, text: str) -> None:
    boundary = "growth-boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="growth.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\n{text}\r\n--{boundary}--\r\n"
    ).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    with urlopen(Request(place.url + path, data=body, headers=headers), timeout=120) as answer:
        answer.read()


async def fill(data_dir: Path, conversations: int, bases: int) -> float:
    """The seconds that it took; 0 if the database was full already."""
    embedded = await start_embedded(data_dir)
    connection = await asyncpg.connect(embedded.dsn, command_timeout=24 * 3600)
    begun = time.monotonic()
    try:
        org_id = await connection.fetchval("SELECT id FROM orgs")
        key_id = await connection.fetchval("SELECT id FROM access_keys")
        model_id = await connection.fetchval("SELECT id FROM models ORDER BY slug LIMIT 1")
        await connection.execute(SQL.functions)
        if await connection.fetchval("SELECT count(*) FROM projects") == 1:
            await connection.execute(SQL.projects, org_id, PROJECTS - 1)
        if await connection.fetchval("SELECT count(*) FROM projects") < conversations // OF_A_PROJECT:
            await connection.execute(SQL.more_projects, org_id, conversations // OF_A_PROJECT)
        await connection.execute(SQL.places)
        # A session in replica mode fires no triggers: the rows are consistent by construction, and foreign keys need
        # not be checked one by one.
        await connection.execute("SET synchronous_commit = off; SET session_replication_role = replica")
        base = await connection.fetchval("SELECT id FROM knowledgebases WHERE name = $1", BASE)
        filled = [
            await batches(connection, "conversations", conversations, BATCH, SQL.rows, lambda first, last: (
                org_id, model_id, first, last, conversations, key_id, PROJECTS)),
            await batches(connection, "traces", conversations, BATCH, SQL.traces, lambda first, last: (
                org_id, first, last, conversations)),
            await batches(connection, "bases", bases, 10, SQL.base_copies, lambda first, last: (
                base, first, last)),
        ]  # fmt: skip
        if not any(filled):
            return 0.0
        print(file=sys.stderr)
        await connection.execute("VACUUM (ANALYZE)")
        return time.monotonic() - begun
    finally:
        await connection.close()
        await embedded.stop()


async def batches(
    connection: asyncpg.Connection,
    kind: str,
    count: int,
    batch: int,
    statement: str,
    arguments: Callable[[int, int], tuple[object, ...]],
) -> bool:
    """So many rows of a kind; continues an interrupted fill. False if nothing was left to do."""
    done = await connection.fetchval("SELECT coalesce(max(last), 0) FROM growth.filled WHERE kind = $1", kind)
    for first in range(done + 1, count + 1, batch):
        last = min(first + batch - 1, count)
        async with connection.transaction():
            await connection.execute(statement, *arguments(first, last))
            await connection.execute("INSERT INTO growth.filled VALUES ($1, $2)", kind, last)
        print(f"\r{last:,} of {count:,} {kind}", end="", file=sys.stderr, flush=True)
    return done < count


def milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def page(place: Place, path: str) -> Any:
    return place.ask("GET", path)


def deep_cursor(place: Place, path: str) -> str:
    """A cursor far into a list: made from the item at three quarters, as the server would return it."""
    total = page(place, f"{path}?page_size=1")["pagination"]["total_count"]
    number = max(1, total * 3 // 4)
    return str(page(place, f"{path}?page_size=1&page={number}")["pagination"]["next_cursor"])


def requests(place: Place) -> dict[str, Callable[[], object]]:
    """The requests that are measured."""
    model = page(place, "/v1/router/models")["data"][0]["id"]
    one = page(place, "/v1/conversations?page_size=1&page=20")["data"][0]["id"]
    runs = page(place, "/v1/runs?page_size=1&page=40")["data"][0]["id"]
    cursors = {path: deep_cursor(place, path) for path in ("/v1/conversations", "/v1/runs")}
    last = {path: max(1, page(place, f"{path}?page_size=25")["pagination"]["page_count"] * 3 // 4) for path in cursors}
    month = quote(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 31 * 86_400)))

    def conversation() -> str:
        return str(place.ask("POST", "/v1/conversations", {"model_id": model})["data"]["id"])

    def short_run(talk: str) -> object:
        return place.ask("POST", f"/v3/conversations/{talk}/messages", {"content": "Hello", "stream": False})

    talk = conversation()
    spare: list[str] = []
    base = page(place, "/v1/knowledgebases?page_size=1&sort=created_at")["data"][0]["id"]
    project = page(place, "/v1/projects?page_size=1&sort=created_at")["data"][0]["id"]
    made_key = place.ask("POST", "/v1/access-keys", {"name": "traces", "project_id": project})["data"]["key"]

    def traced(method: str, path: str, body: object = None) -> Any:
        """Traces belong to a project, and so does the key that asks for them."""
        return call(method, place.url, made_key, path, body)

    trace = traced("GET", "/v1/traces?wire=sdk&page_size=1")["data"][0]["id"]
    sent = [0]

    def streamed(path: str, body: object | None = None, first: bool = False) -> object:
        """The whole stream, or until its first event."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        with urlopen(Request(place.url + path, data=data, headers=headers), timeout=60) as answer:
            return answer.readline() if first else answer.read()

    def collected() -> object:
        """A hundred spans of a new trace."""
        sent[0] += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        key = f"{time.time_ns()}-{sent[0]}"
        spans = [
            {"id": f"{key}-{n}", "name": "Step", "type": "workflow" if n == 0 else "node", "trace_id": key,
             "source_id": "growth", "start_time": now, "end_time": now, "status": "succeeded",
             "parent_run_id": f"{key}-0" if n else None, "input": "w1 w2 w3", "output": "w4 w5"}
            for n in range(100)
        ]  # fmt: skip
        traced("POST", "/v1/traces", {"runs": spans})
        return key

    def searched(mode: str, **more: object) -> object:
        body = {"query": "w17 w203 w1011", "limit": 10, "alpha": {"keyword": 0, "hybrid": 0.5, "semantic": 1}[mode]}
        return place.ask("POST", f"/v1/knowledgebases/{base}/vector-search", {**body, **more})

    def made() -> None:
        spare.append(conversation())
        short_run(spare[-1])

    def deleted() -> None:
        place.ask("DELETE", f"/v1/conversations/{spare.pop()}")

    return {
        "conversations, page 1": lambda: page(place, "/v1/conversations"),
        "conversations, deep page by cursor": lambda: page(
            place, f"/v1/conversations?cursor={cursors['/v1/conversations']}"
        ),
        "conversations, deep page by number": lambda: page(
            place, f"/v1/conversations?page={last['/v1/conversations']}"
        ),
        "conversations of one user": lambda: page(place, "/v1/conversations?user_id=user7"),
        "q=, a rare word": lambda: page(place, "/v1/conversations?q=zanzibar"),
        "q=, the beginning of 2,000 words": lambda: page(place, "/v1/conversations?q=n77"),
        "q=, a word of 1 % of messages": lambda: page(place, "/v1/conversations?q=sometimes"),
        "q=, the beginning of most words": lambda: page(place, "/v1/conversations?q=w1"),
        "q=, no such word": lambda: page(place, "/v1/conversations?q=nowhere"),
        "one conversation": lambda: page(place, f"/v1/conversations/{one}"),
        "its messages": lambda: page(place, f"/v1/conversations/{one}/messages"),
        "runs, page 1": lambda: page(place, "/v1/runs"),
        "runs, deep page by cursor": lambda: page(place, f"/v1/runs?cursor={cursors['/v1/runs']}"),
        "runs, deep page by number": lambda: page(place, f"/v1/runs?page={last['/v1/runs']}"),
        "failed runs": lambda: page(place, "/v1/runs?status=failed"),
        "one run's events": lambda: page(place, f"/v1/runs/{runs}/events"),
        "usage by day, 31 days": lambda: page(place, f"/v1/usage?group_by=day&from={month}"),
        "usage by model and key, 31 days": lambda: page(place, f"/v1/usage?group_by=model,key_id&from={month}"),
        "short run": lambda: short_run(talk),
        "new conversation with a run": made,
        "deletion with its proof": deleted,
        "time to the first event": lambda: streamed(
            f"/v3/conversations/{conversation()}/messages", {"content": "Hello"}, first=True
        ),
        "a run's stream, replayed": lambda: streamed(f"/v1/runs/{runs}/stream"),
        "a run's stream, resumed": lambda: streamed(f"/v1/runs/{runs}/stream?after_sequence=5"),
        "projects, page 1": lambda: page(place, "/v1/projects"),
        "100 spans collected": collected,
        "traces, page 1": lambda: traced("GET", "/v1/traces"),
        "traces of a session": lambda: traced("GET", "/v1/traces?session_id=session-7"),
        "traces, q= a frequent word": lambda: traced("GET", "/v1/traces?wire=sdk&q=w1"),
        "traces, q= a rare word": lambda: traced("GET", "/v1/traces?wire=sdk&q=zanzibar"),
        "one trace": lambda: traced("GET", f"/v1/traces/{trace}"),
        "traces by model": lambda: traced("GET", "/v1/trace-aggregates?group_by=model"),
        "knowledge bases, page 1": lambda: page(place, "/v1/knowledgebases"),
        "search, by words": lambda: searched("keyword"),
        "search, by meaning": lambda: searched("semantic"),
        "search, hybrid": lambda: searched("hybrid"),
        "search, hybrid with a filter": lambda: searched(
            "hybrid", filters={"field": "file_id", "operator": "!=", "value": "none"}
        ),
    }


def doctor(place: Place, *options: str) -> float:
    """The doctor runs beside the server and checks everything. Milliseconds; it must find nothing."""
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "stoa",
        "doctor",
        "--json",
        "--seconds",
        "300",
        "--data-dir",
        str(place.data_dir),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    broken = {
        check["name"]: check["examples"][:1]
        for check in found["checks"]
        if check["count"] or check["status"] != "complete"
    }
    if broken:
        print(f"doctor: {broken}", file=sys.stderr)
    return (time.perf_counter() - begun) * 1000


def line(name: str, empty: float, full: float) -> None:
    print(f"{name:<38}{empty:>12.1f}{full:>12.1f}{full / empty:>9.2f}", flush=True)


def measure(empty: Place, full: Place, rounds: int, only: str) -> None:
    asked = requests(empty), requests(full)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in asked[0] if only in name}
    for number in range(rounds + 2):
        for name, pair in found.items():
            for work, kept in zip((asked[0][name], asked[1][name]), pair, strict=True):
                took = milliseconds(work)
                if number >= 2:  # The first rounds fill caches.
                    kept.append(took)
    for name, (one, other) in found.items():
        line(name, statistics.quantiles(one, n=4)[0], statistics.quantiles(other, n=4)[0])
    if only:
        return
    line("doctor, the first time", doctor(empty), doctor(full))
    line("doctor, from then on", doctor(empty), doctor(full))
    line(
        "GET /v1/doctor",
        *(
            statistics.median(milliseconds(lambda at=at: page(at, "/v1/doctor")) for _ in range(3))
            for at in (empty, full)
        ),
    )


def warm_starts(place: Place) -> float:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        with serving(place.data_dir):
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--conversations", type=int)
    parser.add_argument("--bases", type=int)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="figures whose names hold this, and neither start-up nor doctor")
    parser.add_argument("--routes", action="store_true", help="every route that reads, with every filter and order")
    options = parser.parse_args()
    conversations = options.conversations or SCALES[options.scale]
    with contextlib.ExitStack() as stack:
        home = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stoa-bench-")))
        home.mkdir(exist_ok=True)
        home.chmod(0o755)
        empty, full = Place(home / "empty"), Place(home / "full")
        bases = conversations // OF_A_BASE if options.bases is None else options.bases
        for place, count, copies in ((empty, EMPTY, 1), (full, conversations, bases)):
            born(place.data_dir)
            seconds = asyncio.run(fill(place.data_dir, count, copies))
        print(machine())
        print(
            f"{conversations:,} conversations, {conversations * 10:,} messages, {conversations * 5:,} runs,"
            f" {conversations * 50:,} events, {conversations * 5:,} spans, {bases + 1:,} knowledge bases,"
            f" filled in {seconds:.0f} s; lower quartiles of {options.rounds}, ms"
        )
        print(f"{'':<38}{'empty':>12}{'full':>12}{'ratio':>9}", flush=True)
        if options.routes:
            many = (FEW, conversations // OF_A_THING)
            bench_routes((empty.data_dir, full.data_dir), many, options.rounds, options.only)
            return
        if not options.only:
            line("start-up, warm", warm_starts(empty), warm_starts(full))
        with serving(empty.data_dir) as (_, empty.url), serving(full.data_dir) as (_, full.url):
            measure(empty, full, options.rounds, options.only)


if __name__ == "__main__":
    main()

"""`bench/growth.py --routes`: every route that reads, of every host, in the full and in the empty database.

The routes come from the OpenAPI documents, the values of their parameters from existing objects. Of each list it
requests the first, a middle and a last page, in every order, and with every filter: for existing values, for missing
ones, and for each value of an enumeration. For lists that `growth.sql` does not fill, one object is created over the
API and copied.

It compares the CPU that node and database spend on a request, in milliseconds, the least of all rounds, which other
load affects little.
"""

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import asyncpg
import httpx
from bed import KEY, serving
from things import Maker

from stoa.db.embedded import start_embedded
from stoa.db.sql import parse

SQL: Final = parse(Path(__file__).with_name("growth.sql").read_text(), "growth.sql")
FEW, BATCH = 10, 2_000
ONE: Final = "'id', growth.id(at, '{table}', n), 'created_at', at"
THINGS: Final[Mapping[str, tuple[str, str]]] = {
    "access_keys": ("id = '{key_id}'", ONE + ", 'name', 'Key ' || n, 'hash', '\\x' || md5('key' || n)"),
    "apps": ("id = '{app_id}'", ONE + ", 'name', 'App ' || n"),
    "app_deployments": ("app_id = '{app_id}'", ONE),
    "artifacts": ("id = '{artifact_id}'", ONE + ", 'name', 'Artifact ' || n, 'updated_at', at"),
    "artifact_versions": ("artifact_id = '{artifact_id}'", ONE + ", 'version', 1 + n"),
    "audit": ("true", "'id', 1000000000 + n, 'at', at, 'sequence', 1000000000 + n"),
    "conversations": (
        "app_id = '{app_id}'",
        ONE + ", 'session_id', growth.id(at, 'session', n), 'updated_at', at, 'user_id', 'user' || n % 5000",
    ),
    "deletions": ("id = '{deletion_id}'", ONE),
    "files": ("id = '{file_id}'", ONE + ", 'name', 'File ' || n"),
    "invitations": (
        "id = '{invitation_id}'",
        ONE + ", 'email', 'invited' || n || '@example.com', 'hash', '\\x' || md5('invited' || n)",
    ),
    "knowledge_items": ("id = '{item_id}'", ONE + ", 'name', 'Item ' || n"),
    "knowledge_sources": ("id = '{source_id}'", ONE + ", 'name', 'Source ' || n, 'next_sync_at', NULL"),
    "knowledge_source_syncs": ("source_id = '{source_id}'", ONE + ", 'status', 'completed', 'ended_at', at"),
    "knowledge_source_entries": (
        "source_id = '{source_id}'",
        "'origin', 'https://example.invalid/' || n, 'error', jsonb_build_object('code', 'x', 'message', 'y')",
    ),
    "memories": ("id = '{memory_id}'", ONE + ", 'name', 'Memory ' || n"),
    "memory_items": ("memory_id = '{memory_id}'", ONE + ", 'updated_at', at"),
    "memory_stores": ("id = '{store_id}'", ONE + ", 'name', 'Store ' || n"),
    "memory_files": ("store_id = '{store_id}'", ONE + ", 'path', 'u' || n"),
    "requirements": ("id = '{requirement_id}'", ONE + ", 'name', 'need' || n"),
    "runs": ("id = '{app_run_id}'", ONE + ", 'started_at', at, 'ended_at', at, 'user_id', 'user' || n % 5000"),
    "skills": ("id = '{skill_id}'", ONE + ", 'name', 'skill-' || n"),
    "skill_versions": ("skill_id = '{skill_id}'", ONE + ", 'version', 1 + n"),
    "tools": ("id = '{tool_id}'", ONE + ", 'name', 'tool' || n"),
    "triggers": ("id = '{trigger_id}'", ONE + ", 'name', 'Trigger ' || n, 'status', 'draft', 'wake_at', NULL"),
    "trigger_events": (
        "id = '{event_id}'",
        "'id', growth.id(at, 'event', n), 'received_at', at, 'delivery_id', 'delivery' || n, 'due_at', NULL",
    ),
    "workflows": ("id = '{workflow_id}'", ONE + ", 'name', 'Workflow ' || n"),
    "workflow_versions": ("id = '{workflow_version_id}'", ONE + ", 'version', 1 + n"),
}
"""What is copied, and the columns that differ between copies, in SQL."""
LEFT_OUT: Final = re.compile(
    r"/stream$|/export$|/download$|/content$|^/metrics$|/docs|openapi|/doctor$|/ready$|/health$"
)
"""Routes whose answer is as long as what they read, and those of the operator."""
WORDS: Final[Mapping[str, Sequence[str]]] = {
    "q": ("w1", "zanzibar", "nowhere", "n77", "sometimes"),
    "query": ("w1", "zanzibar"),
    "group_by": ("day", "model", "key_id", "project_id", "kind", "user_id", "conversation_id", "run_id"),
}


@dataclass
class Asked:
    name: str
    paths: tuple[str, str]
    """On the empty server, and on the full one."""


class Side:
    """One of the two servers, with the ids of the objects there."""

    def __init__(self, url: str, pid: int, home: Path, client: httpx.Client, ids: Mapping[str, str]) -> None:
        self.url, self.client, self.ids = url, client, ids
        self._node, self._database = pid, int(next(home.rglob("postmaster.pid")).read_text().splitlines()[0])

    def get(self, path: str) -> httpx.Response:
        return self.client.get(self.url + path)

    def cpu(self) -> float:
        """Milliseconds of CPU of the node and its database so far."""
        children = Path(f"/proc/{self._database}/task/{self._database}/children").read_text().split()
        return sum(ran(int(pid)) for pid in (self._node, *children)) / 1e6


def ran(pid: int) -> int:
    """Nanoseconds, of all threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(task.read_text().split()[0])
    return total


async def made(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        return await Maker(client).everything()


async def fill_things(data_dir: Path, ids: Mapping[str, str], many: int) -> None:
    embedded = await start_embedded(data_dir)
    connection = await asyncpg.connect(embedded.dsn, command_timeout=3600)
    try:
        await connection.execute(SQL.copies)
        await connection.execute("SET synchronous_commit = off; SET session_replication_role = replica")
        for table, (which, different) in THINGS.items():
            done = await connection.fetchval("SELECT max(last) FROM growth.filled WHERE kind = $1", table) or 0
            for first in range(done + 1, many + 1, BATCH):
                last = min(first + BATCH - 1, many)
                async with connection.transaction():
                    await connection.execute(
                        "SELECT growth.copies($1, $2, $3, $4, $5, $6)", table, which.format_map(ids),
                        f"jsonb_build_object({different.replace('{table}', table)})", first, last, many,
                    )  # fmt: skip
                    await connection.execute("INSERT INTO growth.filled VALUES ($1, $2)", table, last)
            print(table, flush=True)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
        await embedded.stop()


def prepared(data_dir: Path, many: int) -> dict[str, str]:
    """Ids of one of everything; the first call copies each so many times."""
    remembered = data_dir / "growth-things.json"
    if not remembered.exists():
        with serving(data_dir) as (_, url):
            ids = asyncio.run(made(url))
        remembered.write_text(json.dumps(ids))
    ids = json.loads(remembered.read_text())
    asyncio.run(fill_things(data_dir, ids, many))
    return ids


def prefixes(ids: Mapping[str, str]) -> Sequence[str]:
    return ("", f"/kb/{ids['knowledgebase_id']}", f"/apps/{ids['app_id']}", "/router", "/collector")


def routes(empty: Side, full: Side) -> Iterator[Asked]:
    for mounts in zip(prefixes(empty.ids), prefixes(full.ids), strict=True):
        document = full.get(f"{mounts[1]}/openapi.json").json()
        for path, methods in document["paths"].items():
            described = methods.get("get")
            if described is None or LEFT_OUT.search(path):
                continue
            paths = tuple(
                mount + filled(path, side.ids, mount.startswith("/apps"))
                for mount, side in zip(mounts, (empty, full), strict=True)
            )
            name = (mounts[0].split("/")[1] + ":" if mounts[0] else "") + path
            yield from variants(name, (paths[0], paths[1]), described, (empty, full))


def filled(path: str, ids: Mapping[str, str], of_app: bool) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1].split(":")[0]
        return quote(ids.get("app_run_id" if of_app and name == "run_id" else name, str(uuid.UUID(int=7))), safe="")

    return re.sub(r"\{([\w:]+)\}", value, path)


def variants(
    name: str, paths: tuple[str, str], described: Mapping[str, Any], sides: tuple[Side, Side]
) -> Iterator[Asked]:
    parameters = [one for one in described.get("parameters", ()) if one["in"] == "query"]
    names = {one["name"] for one in parameters}
    always: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for ask, side in zip(always, sides, strict=True):
        ask |= {one["name"]: value_of(one["name"], side) for one in parameters if one.get("required")}
        if "trace" in name and "project_id" in names:
            ask["project_id"] = side.ids["project_id"]
        if name.endswith(("/memories/{memory_id}/items", "/files")) and "user_id" in names:
            ask["user_id"] = "u"
        if "from" in names:
            ask["from"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 31 * 86_400))

    def asked(label: str, *more: Mapping[str, str]) -> Asked:
        both = more if len(more) == 2 else (more[0], more[0])
        urls = [
            f"{path}?{urlencode({**ask, **one})}" if {**ask, **one} else path
            for path, ask, one in zip(paths, always, both, strict=True)
        ]
        return Asked(f"{name} {label}".strip(), (urls[0], urls[1]))

    plain = asked("", {})
    yield plain
    answers = [side.get(path) for side, path in zip(sides, plain.paths, strict=True)]
    bodies = [
        answer.json() if answer.is_success and "json" in answer.headers["content-type"] else {} for answer in answers
    ]
    if not all(isinstance(body, dict) for body in bodies):
        return
    if "page" in names:
        counts = [body.get("pagination", {}).get("page_count", 1) for body in bodies]
        for share in (0.75, 1.0):
            yield asked(f"page {share:.0%}", *({"page": str(max(1, int(count * share)))} for count in counts))
    cursors = [body.get("pagination", {}).get("next_cursor") for body in bodies]
    if all(cursors):
        yield asked("cursor", *({"cursor": cursor} for cursor in cursors))
    items = [body["data"][-1] if isinstance(body.get("data"), list) and body["data"] else {} for body in bodies]
    for one in parameters:
        yield from filters(one, asked, items, sides)


def filters(one: Mapping[str, Any], asked: Any, items: Sequence[Any], sides: tuple[Side, Side]) -> Iterator[Asked]:
    parameter = one["name"]
    if parameter in ("page", "page_size", "cursor", "from", "to") or one.get("required"):
        return
    if parameter == "sort":
        for field in re.findall(r"[a-z_]+(?=[,.])", one.get("description", "").rpartition("descending:")[2]):
            yield asked(f"sort={field}", {"sort": field})
            yield asked(f"sort=-{field}", {"sort": f"-{field}"})
    elif values := known_values(parameter, flat(one["schema"])):
        for value in values:
            yield asked(f"{parameter}={value}", {parameter: value})
    else:
        there = [value_of(parameter, side, item) for item, side in zip(items, sides, strict=True)]
        yield asked(f"{parameter} there", *({parameter: value} for value in there))
        absent = str(uuid.UUID(int=7)) if flat(one["schema"]).get("format") == "uuid" else "nowhere"
        yield asked(f"{parameter} not there", {parameter: absent})


def known_values(parameter: str, schema: Mapping[str, Any]) -> Sequence[str]:
    """The values of a parameter, by its name or type."""
    if schema.get("enum"):
        return [str(value) for value in schema["enum"]]
    if parameter in WORDS:
        return WORDS[parameter]
    if schema.get("format") == "date-time":
        return [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7 * 86_400))]
    return {"boolean": ("true", "false"), "integer": ("1",), "number": ("1",)}.get(str(schema.get("type")), ())


def flat(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inner type of a nullable or repeated parameter."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return flat(choice)
    return flat(schema["items"]) if schema.get("type") == "array" else schema


def value_of(parameter: str, side: Side, item: Any = None) -> str:
    found = item.get(parameter) if isinstance(item, dict) else None
    if isinstance(found, str | int):
        return str(found)
    return {"user_id": "user7", "model": "growth/model-1", "name": "Answer", "session_id": "session-7", "tag": "t",
            "other": side.ids["trace_id"], "path": "u", "email": "invited7@example.com"}.get(
        parameter, side.ids.get(parameter, "x"))  # fmt: skip


def measure(empty: Side, full: Side, rounds: int, only: str) -> Generator[tuple[float, float, str, int]]:
    for one in routes(empty, full):
        if only not in one.name:
            continue
        best = [9e9, 9e9]
        status = 0
        for number in range(rounds + 2):
            for index, side in enumerate((empty, full)):
                begun = side.cpu()
                answer = side.get(one.paths[index])
                took = side.cpu() - begun
                status = max(status, answer.status_code)
                if number >= 2 and took > 0:  # A process that ended takes its CPU time with it.
                    best[index] = min(best[index], took)
                elif took > 2_000:
                    best[index] = took
            if best[1] > 2_000 and number >= 2:
                break
        yield best[0], best[1], one.name, status


def bench(places: Sequence[Path], many: Sequence[int], rounds: int, only: str) -> None:
    ids = [prepared(place, count) for place, count in zip(places, many, strict=True)]
    headers = {"Authorization": f"Bearer {KEY}"}
    found: list[tuple[float, float, str, int]] = []
    with (
        httpx.Client(headers=headers, timeout=120) as client,
        serving(places[0]) as (node, one),
        serving(places[1]) as (other_node, other),
    ):
        empty = Side(one, node.pid, places[0], client, ids[0])
        full = Side(other, other_node.pid, places[1], client, ids[1])
        for row in measure(empty, full, rounds, only):
            found.append(row)
            print(f"{row[2]:<70}{row[0]:>10.1f}{row[1]:>10.1f}{row[1] / row[0]:>8.2f}  {row[3]}", flush=True)
    found.sort(key=lambda row: -row[1] / row[0])
    over = [row for row in found if row[1] / row[0] > 1.2 and row[1] - row[0] > 0.5]
    print(f"\n{len(found)} requests, {len(over)} above 1.2; the worst:")
    for row in over:
        print(f"{row[2]:<70}{row[0]:>10.1f}{row[1]:>10.1f}{row[1] / row[0]:>8.2f}  {row[3]}")

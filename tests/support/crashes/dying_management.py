"""A server that dies like `kill -9` at the n-th statement of a change, for many kinds of changes at once.

Each kind has an organization of its own, so no change waits for another one's lock. Each stops before its n-th
statement; when all have stopped or been answered, the process dies. Then another server gets the same requests.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from stoa.access.lookups import KeyLookups
from stoa.access.rules import digest, new_secret
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from stoa.kernel.audit_chain import verify
from stoa.kernel.origin import ORIGIN
from tests.support.apps import SHORT
from tests.support.crashes.dying import DIED
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.running import NO_AUTHORITIES, Running, serving
from tests.support.transfers import made_up

TICKS_MAX = 60
CONNECTIONS_MAX = 60
"""The size of the pool; each kind holds a connection while it is stopped."""
PASSING = ("audit_heads", "list_counts", "list_progress", "key_uses", "nodes", "blob_counts")
"""Tables that change without a request."""


@dataclass(frozen=True)
class Change:
    method: str
    path: str
    body: Any = None

    @property
    def creates(self) -> bool:
        """Whether it creates something; then the Idempotency-Key applies."""
        return self.method == "POST" and not self.path.endswith("/save")


@dataclass(frozen=True)
class Room:
    """An organization for one kind of change."""

    org_id: str
    project_id: str
    key: str
    client: httpx.AsyncClient

    async def made(self, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
        answer = await self.client.post(path, json={} if body is None else body)
        assert answer.status_code == status, (path, answer.text)
        return dict(answer.json()["data"])

    async def workflow(self) -> str:
        return str((await self.made("/v1/workflows", {"name": f"w-{uuid4().hex}", "flow": SHORT}))["id"])

    async def released(self) -> str:
        workflow_id = await self.workflow()
        await self.made(f"/v1/workflows/{workflow_id}/release", {"name": "v", "flow": SHORT, "flow_ui": {}})
        return workflow_id

    def app_of(self, workflow_id: str) -> dict[str, Any]:
        return {"name": f"App {uuid4()}", "project_id": self.project_id, "workflow_id": workflow_id}

    async def app(self) -> tuple[str, str]:
        workflow_id = await self.released()
        return str((await self.made("/v1/apps", self.app_of(workflow_id)))["id"]), workflow_id

    async def trigger(self) -> str:
        app_id, _ = await self.app()
        return f"/v1/apps/{app_id}/triggers/{(await self.made(f'/v1/apps/{app_id}/triggers', TRIGGER, 200))['id']}"


TRIGGER = {
    "name": "weekly",
    "provider": "schedule",
    "config": {"timezone": "Europe/Berlin", "schedule": "0 9 29 2 *"},
    "input_transformer": {"selector": {"input": "Write."}},
}
SKILL = {"description": "Use it.", "instructions": "Ask."}
KINDS: dict[str, Callable[[Room], Awaitable[Change]]] = {}


def kind(prepare: Callable[[Room], Awaitable[Change]]) -> Callable[[Room], Awaitable[Change]]:
    KINDS[prepare.__name__] = prepare
    return prepare


@kind
async def project_create(_: Room) -> Change:
    return Change("POST", "/v1/projects", {"name": f"P {uuid4()}"})


@kind
async def project_update(room: Room) -> Change:
    return Change("PUT", f"/v1/projects/{room.project_id}", {"name": f"P {uuid4()}", "description": "D"})


@kind
async def project_delete(room: Room) -> Change:
    made = await room.made("/v1/projects", {"name": f"P {uuid4()}"})
    return Change("DELETE", f"/v1/projects/{made['id']}")


@kind
async def key_create(_: Room) -> Change:
    return Change("POST", "/v1/access-keys", {"name": "k", "permissions": ["conversations:read"]})


@kind
async def key_rotate(room: Room) -> Change:
    key = await room.made("/v1/access-keys", {"name": "k"})
    return Change("POST", f"/v1/access-keys/{key['id']}/rotate", {"overlap_seconds": 60})


@kind
async def key_update(room: Room) -> Change:
    key = await room.made("/v1/access-keys", {"name": "k"})
    return Change("PATCH", f"/v1/access-keys/{key['id']}", {"name": "k2", "permissions": ["conversations:read"]})


@kind
async def key_delete(room: Room) -> Change:
    key = await room.made("/v1/access-keys", {"name": "k"})
    return Change("DELETE", f"/v1/access-keys/{key['id']}?cascade=true")


@kind
async def invitation_create(room: Room) -> Change:
    return Change("POST", f"/v1/orgs/{room.org_id}/invitations", {"email": f"{uuid4().hex}@example.com"})


@kind
async def workflow_create(_: Room) -> Change:
    return Change("POST", "/v1/workflows", {"name": f"w-{uuid4().hex}", "flow": SHORT})


@kind
async def workflow_save(room: Room) -> Change:
    return Change("POST", f"/v1/workflows/{await room.workflow()}/save", {"flow": SHORT, "flow_ui": {"nodes": []}})


@kind
async def workflow_release(room: Room) -> Change:
    sent = {"name": "v2", "flow": SHORT, "flow_ui": {"n": str(uuid4())}}
    return Change("POST", f"/v1/workflows/{await room.released()}/release", sent)


@kind
async def app_create(room: Room) -> Change:
    return Change("POST", "/v1/apps", room.app_of(await room.released()))


@kind
async def app_deploy(room: Room) -> Change:
    app_id, _ = await room.app()
    return Change("POST", f"/v1/apps/{app_id}/deploy", {"workflow_id": await room.released()})


@kind
async def app_rollback(room: Room) -> Change:
    app_id, _ = await room.app()
    await room.made(f"/v1/apps/{app_id}/deploy", {"workflow_id": await room.released()}, 200)
    return Change("POST", f"/v1/apps/{app_id}/rollback", {})


@kind
async def app_delete(room: Room) -> Change:
    app_id, _ = await room.app()
    return Change("DELETE", f"/v1/apps/{app_id}")


@kind
async def trigger_create(room: Room) -> Change:
    app_id, _ = await room.app()
    return Change("POST", f"/v1/apps/{app_id}/triggers", TRIGGER)


@kind
async def trigger_update(room: Room) -> Change:
    return Change("PUT", await room.trigger(), {"config": {"timezone": "UTC", "schedule": "0 8 29 2 *"}})


@kind
async def requirement_create(room: Room) -> Change:
    body = {"name": "crm", "type": "connection", "form": {"title": "CRM"}, "spec": {"type": "dynamiq.connections.Http"}}
    return Change("POST", f"/v1/workflows/{await room.workflow()}/requirements", body)


@kind
async def memory_create(_: Room) -> Change:
    return Change("POST", "/v1/memories", {"name": f"m-{uuid4().hex}"})


@kind
async def memory_item_create(room: Room) -> Change:
    memory = await room.made("/v1/memories", {"name": f"m-{uuid4().hex}"})
    said = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    return Change(
        "POST", f"/v1/memories/{memory['id']}/items", {"user_id": "u", "session_id": str(uuid4()), "data": said}
    )


@kind
async def memory_file_write(room: Room) -> Change:
    store = await room.made("/v1/memory-stores", {"name": f"s-{uuid4().hex}"})
    return Change("PUT", f"/v1/memory-stores/{store['id']}/files", {"user_id": "u", "path": "p", "content": "c"})


@kind
async def skill_create(_: Room) -> Change:
    return Change("POST", "/v1/skills", {"name": f"s-{uuid4().hex}", **SKILL})


@kind
async def skill_version(room: Room) -> Change:
    made = await room.made("/v1/skills", {"name": f"s-{uuid4().hex}", **SKILL})
    return Change("POST", f"/v1/skills/{made['id']}/versions", {**SKILL, "instructions": "Ask twice."})


@kind
async def artifact_create(_: Room) -> Change:
    return Change("POST", "/v1/artifacts", {"file_name": "a.md", "name": "A", "kind": "markdown", "content": "A"})


@kind
async def base_create(_: Room) -> Change:
    return Change("POST", "/v1/knowledgebases", {"name": f"K {uuid4()}"})


@kind
async def import_apply(room: Room) -> Change:
    memory = b'{"id":"%s","name":"m"}' % str(uuid4()).encode()
    manifest, parts = made_up(("memories", False, [memory]))
    made = await room.made("/v1/imports", manifest)
    for number, part in enumerate(parts, 1):
        answer = await room.client.put(f"/v1/imports/{made['id']}/parts/{number}", content=part)
        assert answer.is_success, answer.text
    return Change("POST", f"/v1/imports/{made['id']}/apply", {})


# --- dying ----------------------------------------------------------------------------------------------------------
@dataclass
class Doomed:
    """Counts the statement of each change, and how many changes have stopped or been answered."""

    tick: int
    open: int
    counts: dict[str, int] = field(default_factory=dict)
    stopped: int = 0

    async def statement(self) -> None:
        origin = ORIGIN.get()
        if origin is None or not origin.request_id.startswith("doomed."):
            return
        count = self.counts[origin.request_id] = self.counts.get(origin.request_id, 0) + 1
        if count == self.tick:
            self.stopped += 1
            self.ended()
            await asyncio.Event().wait()

    def ended(self) -> None:
        """Another change has stopped or been answered."""
        self.open -= 1
        if self.open == 0:
            os._exit(DIED if self.stopped else 0)


def die(dsn: str, directory: str, changes: Mapping[str, tuple[str, Change]], tick: int) -> None:
    asyncio.run(_die(dsn, Path(directory), changes, tick))


async def _die(dsn: str, directory: Path, changes: Mapping[str, tuple[str, Change]], tick: int) -> None:
    doomed = Doomed(tick, len(changes))
    KeyLookups.row = _alone  # type: ignore[method-assign] — look-ups of one moment share a statement
    for name in ("execute", "_execute"):
        _stopping(name, doomed)
    async with (
        serving(dsn, directory / f"doomed-{tick}", ScriptedModel(), connections_max=CONNECTIONS_MAX) as server,
        asyncio.TaskGroup() as group,
    ):
        for name, (key, change) in changes.items():
            group.create_task(_ask(server.url, name, key, change, doomed))


async def _ask(url: str, name: str, key: str, change: Change, doomed: Doomed) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120, verify=NO_AUTHORITIES) as client:
        answer = await asked(client, key, name, change, f"doomed.{name}.{doomed.tick}", doomed.tick)
        assert answer.is_success, (name, answer.text)
        doomed.ended()
        await asyncio.Event().wait()


async def _alone(self: KeyLookups, sought: bytes) -> Any:
    return (await self._look_up([sought]))[0]


def _stopping(name: str, doomed: Doomed) -> None:
    plain = getattr(asyncpg.Connection, name)

    async def counted(self: asyncpg.Connection, query: str, *args: Any, **options: Any) -> Any:
        await doomed.statement()
        return await plain(self, query, *args, **options)

    setattr(asyncpg.Connection, name, counted)


async def asked(
    client: httpx.AsyncClient, key: str, name: str, change: Change, request_id: str, tick: int
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": request_id}
    if change.creates:
        headers["Idempotency-Key"] = f"{name}-{tick}"
    return await client.request(
        change.method, change.path, headers=headers, **({} if change.body is None else {"json": change.body})
    )


# --- checking -------------------------------------------------------------------------------------------------------
@dataclass
class Deaths:
    """The outcomes of the deaths so far."""

    died: int = 0
    undone: int = 0
    done: int = 0
    """Committed, without an answer."""


async def deaths(dsn: str, room: Path, home: Path, ticks: Iterable[int]) -> Deaths:
    """Kills a server at each of these ticks, and sends the same requests to another one."""
    room.mkdir()
    found = Deaths()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.crashes.dying_management"])
    async with serving(dsn, home, ScriptedModel()) as server, AsyncExitStack() as stack:
        database = await asyncpg.connect(dsn)
        stack.push_async_callback(database.close)
        rooms = {name: await _room(stack, server, database) for name in KINDS}
        for tick in ticks:
            changes = {name: await KINDS[name](rooms[name]) for name in KINDS}
            before = await _contents(database)
            sent = {name: (rooms[name].key, change) for name, change in changes.items()}
            process = context.Process(target=die, args=(dsn, str(room), sent, tick))
            process.start()
            await asyncio.to_thread(process.join, 120)
            assert process.exitcode in (0, DIED), (tick, process.exitcode)
            if process.exitcode == 0:
                break
            found.died += 1
            after = await _contents(database)
            for name, change in changes.items():
                await _check(database, rooms[name], name, change, tick, (before, after), found)
        report = await server.call("GET", "/v1/doctor")
        assert [check for check in report["data"]["checks"] if check["count"]] == []
        for name, one in rooms.items():
            exported = await one.client.get("/v1/audit/export")
            checked = verify(exported.text.splitlines())
            assert checked.problem is None, name
            assert checked.last, name
    return found


Contents = Mapping[tuple[str, str], tuple[int, int]]
"""(organization, table) → the number of rows, and a checksum of their content."""


async def _check(
    database: asyncpg.Connection,
    room: Room,
    name: str,
    change: Change,
    tick: int,
    seen: tuple[Contents, Contents],
    found: Deaths,
) -> None:
    before, after = [{table: rows for (org, table), rows in one.items() if org == room.org_id} for one in seen]
    lines = await _lines(database, room, f"doomed.{name}.{tick}")
    case = (name, tick, lines)
    if lines:
        found.done += 1
    else:
        found.undone += 1
        changed = {table for table in {*before, *after} if before.get(table) != after.get(table)}
        assert not changed, (*case, changed, "something was made, and no line of the audit says so")
    first = await asked(room.client, room.key, name, change, f"again.{name}.{tick}", tick)
    repeatable = change.method != "DELETE" or not lines
    assert first.is_success if repeatable else first.status_code == 404, (*case, first.text)
    again = await _lines(database, room, f"again.{name}.{tick}")
    if change.creates:
        second = await asked(room.client, room.key, name, change, f"third.{name}.{tick}", tick)
        assert without_secret(second) == without_secret(first), (*case, first.text, second.text)
        assert not await _lines(database, room, f"third.{name}.{tick}"), case
        assert bool(lines) != bool(again), (*case, again, "the audit has it once")
    whole = lines or again
    assert sorted(set(whole)) == sorted(whole), (*case, "a subject has one line for one action")
    assert any(line.startswith(ACTIONS.get(name, "")) for line in whole), (*case, whole)


ACTIONS = {"project_delete": "project.delete", "key_rotate": "access_key.rotate", "import_apply": "project.import"}
"""The line that must be among those of a change with several."""


def without_secret(answer: httpx.Response) -> tuple[int, Any]:
    """The secret is in the first answer only; a client without that answer cannot have it."""
    told = answer.json()
    if isinstance(told.get("data"), dict):
        told["data"].pop("key", None)
        told["data"].pop("token", None)
        told["data"].pop("link", None)
    return answer.status_code, told


async def _lines(database: asyncpg.Connection, room: Room, request_id: str) -> list[str]:
    rows = await database.fetch(
        "SELECT action || ' ' || subject_id AS line FROM audit WHERE org_id = $1 AND request_id = $2",
        room.org_id,
        request_id,
    )
    return [row["line"] for row in rows]


async def _room(stack: AsyncExitStack, server: Running, database: asyncpg.Connection) -> Room:
    org_id, project_id, key = uuid4(), uuid4(), new_secret()
    await database.execute("INSERT INTO orgs (id, name) VALUES ($1, 'Room')", org_id)
    await database.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'P')", org_id, project_id)
    await database.execute(
        "INSERT INTO access_keys (org_id, id, name, hash, preview) VALUES ($1, $2, 'k', $3, '')",
        org_id,
        uuid4(),
        digest(key),
    )
    client = httpx.AsyncClient(
        base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, verify=NO_AUTHORITIES
    )
    await stack.enter_async_context(client)
    return Room(str(org_id), str(project_id), key, client)


async def _contents(database: asyncpg.Connection) -> Contents:
    tables = await database.fetch(
        "SELECT DISTINCT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE a.attname = 'org_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = 'public'::regnamespace"
    )
    kept = [row["name"] for row in tables if row["name"] not in PASSING]
    # Audit lines are sealed a moment later: check that they exist, not their position in the chain.
    said = {name: "0" if name == "audit" else "hashtextextended(t::text, 0)::numeric" for name in kept}
    query = " UNION ALL ".join(
        f"SELECT org_id::text, '{name}' AS name, count(*) AS rows, sum({said[name]})::text AS said"
        f' FROM "{name}" t GROUP BY org_id'
        for name in kept
    )
    return {(row["org_id"], row["name"]): (row["rows"], row["said"]) for row in await database.fetch(query)}


async def every_moment(home: Path) -> dict[str, int]:
    """At every statement of the longest change. Returns how often each outcome occurred."""
    home.mkdir(parents=True, exist_ok=True)
    embedded = await start_embedded(home / "database")
    databases = Databases(embedded.dsn)
    try:
        await databases.execute("CREATE DATABASE management")
        dsn = databases("management")
        await migrate(dsn)
        found = await deaths(dsn, home / "doomed", home / "server", range(1, TICKS_MAX))
    finally:
        await databases.close()
        await embedded.stop()
    return {"kinds": len(KINDS), "moments": found.died, "undone": found.undone, "done_and_unheard": found.done}

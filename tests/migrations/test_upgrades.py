"""Each schema that was ever on main, with data, is brought to this one; large tables get their indexes while others
write; a killed start is done again."""

# ruff: noqa: E501 - rows of released schemas, one row a line

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from uuid import UUID

import asyncpg
import pytest

from stoa.db import migrate as migrating
from stoa.db.migrate import OUTSIDE_A_TRANSACTION, Migration, migrate, migrations
from tests.support.databases import Databases

NUMBERS = [migration.number for migration in migrations()]
TOOL = Path(__file__).parents[2] / "tools" / "schema" / "build.py"
NAMES = ("ORG", "PROJECT", "MODEL", "TALK", "RUN", "ASK", "FILE")
"""What the rows below name."""

DATA = {
    1: """
INSERT INTO orgs (id, name) VALUES ('{ORG}', 'Old');
INSERT INTO projects (org_id, id, name) VALUES ('{ORG}', '{PROJECT}', 'Old');
INSERT INTO access_keys (org_id, id, name, hash, preview) VALUES ('{ORG}', '{PROJECT}', 'k', 'hash of {ORG}', 'p');
INSERT INTO models (id, slug, name, provider, wire_name, abilities) VALUES ('{MODEL}', 'old/{MODEL}', 'Old', 'stoa', 'old', '{{}}');
INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, message_count) VALUES ('{ORG}', '{PROJECT}', '{TALK}', 'An old talk', '{MODEL}', 'ada', 2);
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id) VALUES
    ('{ORG}', '{PROJECT}', '{TALK}', 1, '{ASK}', 'user', '[]', 'Where are the pelicans?', 'completed', '{RUN}'),
    ('{ORG}', '{PROJECT}', '{TALK}', 2, gen_random_uuid(), 'assistant', '[]', 'At the lake.', 'completed', '{RUN}');
INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, status, options, input, output)
VALUES ('{ORG}', '{PROJECT}', '{RUN}', '{TALK}', '{ASK}', 1, '{MODEL}', 'completed', '{{}}', '{{"content": []}}', 'At the lake.');
INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence, sealed) VALUES ('{ORG}', '{PROJECT}', '{RUN}', 1, 2, true);
INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload) VALUES
    ('{ORG}', '{PROJECT}', '{RUN}', 1, 1, 'started'), ('{ORG}', '{PROJECT}', '{RUN}', 2, 16, 'completed');
INSERT INTO files (org_id, project_id, id, conversation_id, name, size, mime_type, sha256, status)
VALUES ('{ORG}', '{PROJECT}', '{FILE}', '{TALK}', 'a.txt', 1, 'text/plain', 'x', 'ready');
INSERT INTO file_passages (org_id, project_id, file_id, position, text) VALUES ('{ORG}', '{PROJECT}', '{FILE}', 0, 'x');
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores) VALUES ('{ORG}', '{PROJECT}', '{FILE}', 'conversation', '{FILE}', '{{}}');
INSERT INTO idempotency_keys (org_id, scope, key, route, body_sha256) VALUES ('{ORG}', 's', 'k', 'conversations', 'x');
INSERT INTO audit (org_id, action) VALUES ('{ORG}', 'conversation.create');
""",
    5: """
INSERT INTO tool_calls (org_id, project_id, run_id, id, conversation_id, name, kind, input, idempotent, status)
VALUES ('{ORG}', '{PROJECT}', '{RUN}', gen_random_uuid(), '{TALK}', 'look', 'http', '{{}}', true, 'completed');
INSERT INTO model_calls (org_id, project_id, run_id, conversation_id, model, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated,
                         cost_usd, at)
VALUES ('{ORG}', '{PROJECT}', '{RUN}', '{TALK}', 'old/model', 10, 5, 0, 0, false, 0.5, now() - interval '3 days');
""",
    6: """
INSERT INTO tools (org_id, project_id, id, name, type, description, config, idempotent, approval, editable_params, timeout_seconds, output_bytes_max)
VALUES ('{ORG}', '{PROJECT}', gen_random_uuid(), 'look', 'http', 'd', '{{}}', true, false, '{{}}', 1, 1);
""",
    9: """
INSERT INTO knowledgebases (org_id, project_id, id, name, embedder, chunking, retriever, language)
VALUES ('{ORG}', '{PROJECT}', '{ASK}', 'Papers', '{{}}', '{{}}', '{{}}', 'en');
INSERT INTO knowledge_items (org_id, project_id, id, knowledgebase_id, name, size, mime_type, sha256, metadata)
VALUES ('{ORG}', '{PROJECT}', '{RUN}', '{ASK}', 'a.txt', 1, 'text/plain', 'x', '{{}}');
""",
}
"""What was in a database, by the migration that first could hold it."""


def ids(number: int) -> dict[str, UUID]:
    """Those of the rows that are written while the schema is this one."""
    return {name: UUID(int=100 * number + place) for place, name in enumerate(NAMES)}


async def fill(connection: asyncpg.Connection, number: int) -> None:
    """An organization with data, as a server of this schema would have left them."""
    for first, text in DATA.items():
        if first <= number:
            await connection.execute(text.format(**ids(number)))


@pytest.fixture
async def old(cluster: Databases, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The dsn of an empty database."""
    name = f"old_{abs(hash(request.node.nodeid)):x}"
    yield await cluster.copy(name, "template1")
    await cluster.drop(name)


@pytest.fixture
async def fresh(cluster: Databases, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The dsn of a database with every migration, and without what tests add to their template."""
    name = f"fresh_{abs(hash(request.node.nodeid)):x}"
    await migrate(await cluster.copy(name, "template1"))
    yield cluster(name)
    await cluster.drop(name)


async def upgrade(dsn: str, number: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By a version whose last migration was this one."""
    with monkeypatch.context() as then:
        then.setattr("stoa.db.migrate.migrations", lambda: [one for one in migrations() if one.number <= number])
        return await migrate(dsn)


async def at(dsn: str, number: int, monkeypatch: pytest.MonkeyPatch) -> asyncpg.Connection:
    """The schema as it was once this migration had landed, and data of its time in it."""
    await upgrade(dsn, number, monkeypatch)
    connection = await asyncpg.connect(dsn)
    await fill(connection, number)
    return connection


async def counts(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows each table has."""
    tables = await connection.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'stoa_migrations'"
    )
    return {row["name"]: await connection.fetchval(f"SELECT count(*) FROM {row['name']}") for row in tables}


async def test_every_schema_with_data_becomes_this_one(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One database goes through every schema, and gets an organization in each: a migration meets data of each schema
    before it."""
    connection = await asyncpg.connect(old)
    for migration in migrations():
        before = await counts(connection)
        assert await upgrade(old, migration.number, monkeypatch) == [migration.name]
        after = await counts(connection)
        assert {name: after.get(name) for name in before} == before, migration.name
        await fill(connection, migration.number)
    for number in NUMBERS:
        await found(connection, number)
    await connection.close()


async def found(connection: asyncpg.Connection, number: int) -> None:
    """The organization that was made in this schema has what it had, and this version finds it."""
    made = ids(number)
    async with connection.transaction():
        await connection.execute(
            f"SET LOCAL ROLE stoa_tenant; SET LOCAL stoa.org_id = '{made['ORG']}'; SET LOCAL stoa.project_id = '{made['PROJECT']}'"
        )
        for name, query, expected in (
            ("conversations", '"pelicans"', [made["TALK"]]),
            ("conversations", '"flamingos"', []),
            ("runs", "null", [made["RUN"]]),
        ):
            asked = f'{{"list": "{name}", "filters": {{}}, "order": [["created_at", true]], "offset": 0, "limit": 9, "query": {query}, "count_max": 9}}'
            assert await connection.fetchval("SELECT ids FROM page_of_list($1)", asked) == expected, (number, name)
        shown = await connection.fetchval("SELECT count(*) FROM shown_messages WHERE shown_in = $1", made["TALK"])
        assert shown == 2, number


async def test_the_schema_file_is_what_the_migrations_make(fresh: str) -> None:
    tool = _tool()
    made = await asyncio.to_thread(tool.dump, fresh)
    assert made == tool.TARGET.read_text(), "run: python tools/schema/build.py"


async def test_an_upgrade_makes_the_schema_that_a_fresh_start_makes(
    old: str, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await at(old, 1, monkeypatch)).close()
    await migrate(old)
    tool = _tool()
    dumps = [sorted((await asyncio.to_thread(tool.dump, dsn)).split("\n")) for dsn in (old, fresh)]
    assert dumps[0] == dumps[1]


async def test_a_start_killed_while_it_builds_an_index_is_done_again(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await at(old, 27, monkeypatch)
    await connection.execute("CREATE INDEX CONCURRENTLY runs_by_message ON runs (org_id, message_id)")
    await connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'runs_by_message'::regclass")
    await migrate(old)
    assert await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
    assert await connection.fetchval("SELECT count(*) FROM stoa_migrations") == len(NUMBERS)
    await connection.close()


async def test_nodes_that_wait_for_a_migration_do_not_stop_it(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that waits for the lock inside a statement would hold a snapshot, and CREATE INDEX CONCURRENTLY would wait
    for that."""
    await (await at(old, 27, monkeypatch)).close()
    async with asyncio.timeout(60):
        applied = await asyncio.gather(*(migrate(old) for _ in range(5)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len([number for number in NUMBERS if number > 27])]


async def test_writers_go_on_while_indexes_are_built(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds a row of a table delays the build of its index and is not delayed by it."""
    connection = await at(old, 27, monkeypatch)
    writer = await asyncpg.connect(old)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("UPDATE runs SET attempt = 1")
    building = asyncio.create_task(migrate(old))
    async with asyncio.timeout(30):
        while not await connection.fetchval(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.02)
        await connection.execute(
            "UPDATE messages SET status = status; UPDATE conversations SET title = title; UPDATE runs SET attempt = 1 WHERE false"
        )
        await writer.execute("UPDATE runs SET attempt = 2")
    assert not building.done()
    await transaction.commit()
    await building
    await writer.close()
    await connection.close()


def test_statements_outside_a_transaction_can_be_repeated() -> None:
    outside = [one for one in migrations() if one.outside]
    assert outside
    repeatable = (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS ",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ",
        "DROP INDEX CONCURRENTLY IF EXISTS ",
        "ALTER INDEX ",
    )
    for migration in outside:
        assert all(statement.startswith(repeatable) for statement in migration.statements), migration.name
    made = Migration(1, "x", f"{OUTSIDE_A_TRANSACTION}-- a; comment\nDROP INDEX a;\n\nDROP INDEX b;\n")
    assert made.statements == ["DROP INDEX a", "DROP INDEX b"]
    assert migrating.LOCK_POLL_SECONDS < 1


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schema_build", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

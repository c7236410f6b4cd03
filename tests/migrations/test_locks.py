"""What migrations lock: none keeps others out of a table that grows; one that has to wait lets them pass; a plan says
it before."""

import asyncio
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from stoa.cli.main import app as command_line
from stoa.db.migrate import Migration, SchemaError, migrate, migrations
from stoa.db.planning import plan
from stoa.db.statements import LONG, LockEffect, locking, lockings, split
from tests.support.databases import Databases

SET_UP_BY_PEOPLE = {
    "access_keys", "apps", "connections", "invitations", "knowledgebases", "knowledge_source_syncs",
    "knowledge_sources", "models", "org_members", "orgs", "personal_tokens", "project_members", "projects", "tools",
    "triggers", "user_sessions", "users", "workflows",
}  # fmt: skip
"""Tables whose rows people make one by one, so that reading them is a matter of moments."""
BEFORE_THIS_RULE = {7, 10, 11, 20, 25, 26, 74, 88}
"""Migrations that read or rewrite tables which grow, made before anybody had large ones. A released migration never
changes. `stoa migrate --plan` names their statements; an upgrade from before them wants a quiet hour."""


def test_no_migration_blocks_a_growing_table_for_long() -> None:
    found: dict[int, list[str]] = {}
    for migration in migrations():
        for one in lockings(migration.sql):
            if one.hold in LONG and one.table not in SET_UP_BY_PEOPLE:
                found.setdefault(migration.number, []).append(f"{one.hold.value}: {one.statement}")
    new = {number: statements for number, statements in found.items() if number not in BEFORE_THIS_RULE}
    assert not new, (
        "build indexes CONCURRENTLY (a file `-- outside a transaction`), add constraints NOT VALID and validate them in"
        " a later file, fill columns in the background"
    )
    assert found.keys() == BEFORE_THIS_RULE, "these are not long any more; take them off the list"


@pytest.mark.parametrize(
    ("statement", "table", "hold"),
    [
        ("CREATE INDEX a ON runs (x)", "runs", LockEffect.READS),
        ("CREATE UNIQUE INDEX IF NOT EXISTS a ON runs USING gin (x)", "runs", LockEffect.READS),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON runs (x)", "runs", LockEffect.BESIDE),
        ("ALTER TABLE runs ADD COLUMN a int", "runs", LockEffect.MOMENTS),
        ("ALTER TABLE runs ADD COLUMN a int NOT NULL DEFAULT 0", "runs", LockEffect.MOMENTS),
        ("ALTER TABLE runs ADD COLUMN a uuid DEFAULT gen_random_uuid()", "runs", LockEffect.REWRITES),
        ("ALTER TABLE runs ADD COLUMN a text GENERATED ALWAYS AS (b) STORED", "runs", LockEffect.REWRITES),
        ("ALTER TABLE runs ADD COLUMN a int CHECK (a > 0)", "runs", LockEffect.READS),
        ("ALTER TABLE runs ALTER COLUMN a TYPE bigint", "runs", LockEffect.REWRITES),
        ("ALTER TABLE runs ALTER a SET DATA TYPE bigint", "runs", LockEffect.REWRITES),
        ("ALTER TABLE runs ALTER COLUMN a SET NOT NULL", "runs", LockEffect.READS),
        ("ALTER TABLE runs ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES b", "runs", LockEffect.READS),
        ("ALTER TABLE runs ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES b NOT VALID", "runs", LockEffect.MOMENTS),
        ("ALTER TABLE runs VALIDATE CONSTRAINT c", "runs", LockEffect.BESIDE),
        ("ALTER TABLE ONLY public.runs ALTER COLUMN a SET STATISTICS 0", "runs", LockEffect.MOMENTS),
        ("ALTER TABLE runs DROP COLUMN a", "runs", LockEffect.MOMENTS),
        ("UPDATE runs SET a = 1", "runs", LockEffect.ROWS),
        ("DELETE FROM runs WHERE a", "runs", LockEffect.ROWS),
        ("DO $$ BEGIN UPDATE runs SET a = 1; END $$", None, LockEffect.UNKNOWN),
        ("DO $$ BEGIN EXECUTE format('CREATE INDEX ON %I (a)', name); END $$", None, LockEffect.UNKNOWN),
        ("DO $$ BEGIN EXECUTE format('CREATE POLICY p ON %I', name); END $$", None, LockEffect.MOMENTS),
        ("CREATE TABLE a (x int CHECK (x > 0))", None, LockEffect.NOTHING),
        ("CLUSTER runs", None, LockEffect.UNKNOWN),
        ("VACUUM FULL runs", None, LockEffect.UNKNOWN),
    ],
)
def test_what_a_statement_holds(statement: str, table: str | None, hold: LockEffect) -> None:
    assert (locking(statement).table, locking(statement).hold) == (table, hold)


def test_a_file_is_cut_into_statements() -> None:
    text = (
        "-- a; b\nCREATE FUNCTION f() AS $x$ BEGIN; END; $x$;\nSELECT ';' || 'it''s; -- no';\n\n  GRANT\n a TO b -- end"
    )
    assert list(split(text)) == [
        "CREATE FUNCTION f() AS $x$ BEGIN; END; $x$",
        "SELECT ';' || 'it''s; -- no'",
        "GRANT a TO b",
    ]
    assert [
        one.hold for one in lockings("CREATE TABLE a (x int); CREATE INDEX i ON a (x); CREATE INDEX j ON b (x);")
    ] == [
        LockEffect.NOTHING,
        LockEffect.NOTHING,
        LockEffect.READS,
    ], "what the file makes itself is nobody's yet"


LAST = migrations()[-1].number
LATER = Migration(LAST + 1, f"{LAST + 1:04}_later", "ALTER TABLE runs ADD COLUMN later int;\n")


@pytest.fixture
def with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [*migrations(), LATER]
    monkeypatch.setattr("stoa.db.migrate.migrations", lambda: every)
    monkeypatch.setattr("stoa.db.planning.migrations", lambda: every)


@pytest.mark.usefixtures("with_another")
async def test_a_migration_that_has_to_wait_lets_others_pass(dsn: str) -> None:
    """A transaction holds a table for long; who comes after the migration does not queue up behind it."""
    long, others = await asyncpg.connect(dsn), await asyncpg.connect(dsn, command_timeout=10)
    try:
        transaction = long.transaction()
        await transaction.start()
        await long.execute("SELECT count(*) FROM runs")
        migrating = asyncio.create_task(migrate(dsn))
        waited = False
        async with asyncio.timeout(60):
            while not waited:
                waited = await others.fetchval(
                    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'runs'::regclass)"
                )
        for _ in range(20):
            await others.execute("SET lock_timeout = '2s'; SELECT count(*) FROM runs; UPDATE runs SET attempt = 1")
        assert not migrating.done()
        await transaction.rollback()
        assert await migrating == [LATER.name]
    finally:
        await long.close()
        await others.close()


async def test_a_migration_that_takes_long_lets_others_pass_first(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is undone after a moment, and gets longer each time until it fits."""
    slow = Migration(LAST + 1, LATER.name, f"{LATER.sql}SELECT pg_sleep(0.4);\n")
    monkeypatch.setattr("stoa.db.migrate.migrations", lambda: [*migrations(), slow])
    others = await asyncpg.connect(dsn, command_timeout=10)
    try:
        migrating = asyncio.create_task(migrate(dsn))
        held = passed = 0
        async with asyncio.timeout(60):
            while not migrating.done():
                locked = await others.fetchval(
                    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE granted AND relation = 'runs'::regclass"
                    " AND mode = 'AccessExclusiveLock')"
                )
                held, passed = held + locked, passed + (held > 0 and not locked)
        assert await migrating == [LATER.name]
        assert held > 0
        assert passed > 0, "others came between its attempts"
        assert await others.fetchval("SELECT count(later) FROM runs") == 0
    finally:
        await others.close()


@pytest.mark.usefixtures("with_another")
async def test_a_migration_that_finds_no_moment_says_why(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoa.db.migrate.TABLE_SECONDS_MAX", 0.2)
    long = await asyncpg.connect(dsn)
    try:
        async with long.transaction():
            await long.execute("SELECT count(*) FROM runs")
            with pytest.raises(SchemaError, match=f"{LATER.name} has found no moment"):
                await migrate(dsn)
    finally:
        await long.close()


@pytest.mark.usefixtures("with_another")
async def test_a_plan_says_what_a_start_will_do_and_does_nothing(dsn: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("ANALYZE runs")
    await connection.close()
    found = await plan(dsn)
    assert (found.schema, found.newest) == (LAST, LAST + 1)
    ((step,), (statement,)) = found.steps, found.steps[0].statements
    assert (step.name, step.outside, statement.locking.mode) == (LATER.name, False, "ACCESS EXCLUSIVE")
    assert not statement.blocks_others
    environment = {"STOA_DATABASE_URL": dsn, "STOA_DATA_DIR": str(tmp_path), "COLUMNS": "200"}

    async def stoa(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, command_line, ["migrate", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return str(result.output)

    said = await stoa("--plan")
    assert f"Schema {LAST} becomes {LAST + 1}, in 1 migrations." in said
    assert "ACCESS EXCLUSIVE on runs" in said
    assert "Nothing keeps others out for longer than moments" in said
    assert "1 migrations were applied" in await stoa()
    assert "a start changes nothing" in await stoa("--plan")


async def test_a_plan_of_an_old_large_schema_warns(
    cluster: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await cluster.copy(f"plan_{uuid4().hex}", "template1")
    assert (await plan(dsn)).schema == 0
    with monkeypatch.context() as then:
        then.setattr("stoa.db.migrate.migrations", lambda: [one for one in migrations() if one.number <= 68])
        await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "ALTER TABLE audit ALTER action SET STORAGE EXTERNAL;"
        " INSERT INTO audit (org_id, action) SELECT gen_random_uuid(), repeat('x', 1900) FROM generate_series(1, 20000)"
    )
    await connection.close()
    found = await plan(dsn)
    long = {(step.name, one.locking.table) for step in found.steps for one in step.statements if one.blocks_others}
    assert ("0074_audit", "audit") in long
    assert {name for name, _ in long} <= {"0074_audit", "0088_traces"}

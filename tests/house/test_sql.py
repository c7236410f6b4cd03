"""Every named statement is used, and PostgreSQL understands it."""

import re
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from stoa.db.sql import load
from tests.support.databases import Databases
from tests.support.statements import NAMED, SOURCE, filled, statements_of


@pytest.fixture(scope="module")
async def schema(cluster: Databases) -> AsyncIterator[asyncpg.Connection]:
    """A migrated database in which these tests store nothing."""
    name = f"schema_{uuid4().hex}"
    connection = await asyncpg.connect(await cluster.copy(name))
    yield connection
    await connection.close()
    await cluster.drop(name)


@cache
def sources() -> Mapping[Path, str]:
    return {path: path.read_text("utf-8") for path in SOURCE.glob("**/*.py")}


@pytest.mark.parametrize("file", NAMED, ids=lambda file: str(file.relative_to(SOURCE)))
async def test_statements_compile_and_are_used(schema: asyncpg.Connection, file: Path) -> None:
    for name, text in statements_of(file).items():
        assert any(f"SQL.{name}" in python for python in sources().values()), f"{name} is not used"
        await schema.prepare(filled(text))


def test_lines_fit() -> None:
    """In 120 columns, as ruff holds it for Python. Migrations and what is generated from them stay as they were."""
    long = [
        f"{file.relative_to(SOURCE)}:{number}"
        for file in NAMED
        if file.name != "schema.sql"
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if len(line) > 120
    ]
    assert not long


async def test_every_tenant_table_is_under_row_level_security(schema: asyncpg.Connection) -> None:
    rows = await schema.fetch(
        "SELECT c.relname, c.relrowsecurity, EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid) AS "
        "policed FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' WHERE c.relkind = 'r' AND "
        "c.relnamespace = 'public'::regnamespace"
    )
    assert len(rows) >= 12
    assert [row["relname"] for row in rows if not (row["relrowsecurity"] and row["policed"])] == []
    async with schema.transaction():
        await schema.execute("SET LOCAL ROLE stoa_tenant")
        for table in ("conversations", "messages", "runs", "events", "files", "access_keys", "orgs"):
            assert await schema.fetchval(f"SELECT count(*) FROM {table}") == 0


def test_every_named_statement_exists() -> None:
    """A misspelt name would fail at its first use only."""
    loaded = re.compile(r'^(\w+): Final = load\("(stoa[\w.]*)"(?:, "([\w.]+)")?\)', re.MULTILINE)
    known: dict[str, set[str]] = {}
    for path, text in sources().items():
        for name, package, file in loaded.findall(text):
            module = ".".join(("stoa", *path.relative_to(SOURCE).with_suffix("").parts))
            known[f"{module}.{name}"] = set(load(package, file or "queries.sql").texts)
    assert len(known) >= 15
    for path, text in sources().items():
        module = ".".join(("stoa", *path.relative_to(SOURCE).with_suffix("").parts))
        for name, statement in re.findall(r"\b(_?SQL|CONVERSATIONS)\.(\w+)", text):
            source = f"{module}.{name}"
            if source not in known and (found := re.search(rf"from (stoa[\w.]+) import [^\n]*\b{name}\b", text)):
                source = f"{found[1]}.{name}"
            if source not in known and (
                found := re.search(rf"from (stoa[\w.]+) import (\w+)\n[\s\S]*\b\2\.{name}\.", text)
            ):
                source = f"{found[1]}.{found[2]}.{name}"
            assert source in known, f"{module}: where does {name} come from?"
            assert statement in known[source], f"{module}: {name}.{statement} is in no .sql file"


COUNTED_WHOLE = {
    "conversations/queries.sql: count_files": "of one conversation",
    "conversations/queries.sql: count_segments": "SEGMENTS_MAX",
    "memory/queries.sql: count_items": "ITEMS_MAX",
    "memory/queries.sql: count_items_of_user": "ITEMS_MAX",
    "memory/queries.sql: count_memories": "MEMORIES_MAX",
    "memory/queries.sql: count_other_files": "FILES_MAX",
    "memory/queries.sql: count_stores": "MEMORIES_MAX",
    "skills/queries.sql: count_skills": "SKILLS_MAX",
    "skills/queries.sql: count_versions": "VERSIONS_MAX",
    "sources/queries.sql: count_items_of_source": "a sync reads all of them",
    "triggers/queries.sql: count_triggers": "TRIGGERS_MAX",
}
"""Counts without a bound, and what bounds them."""


def test_no_list_is_counted_to_its_end() -> None:
    found = {
        f"{file.relative_to(SOURCE)}: {name}"
        for file in NAMED
        for name, text in statements_of(file).items()
        if name.startswith("count_") and "SELECT count(*)" in text and "LIMIT" not in text
    }
    assert found == COUNTED_WHOLE.keys(), "count up to 10,001 (`Page.counted`), or say what bounds it"


async def test_no_transaction_that_stores_something_notifies(schema: asyncpg.Connection) -> None:
    """It would hold PostgreSQL's one lock of the notification queue while it waits for the disk: `tx.notify` sends
    after the commit. Functions of releases before this one stay for their nodes; none of ours calls them."""
    said = {f"{file.relative_to(SOURCE)}: {name}": text for file in NAMED for name, text in statements_of(file).items()}
    assert [name for name, text in said.items() if "pg_notify" in text] == ["db/notifying.sql: notify"]
    for path, text in sources().items():
        assert "pg_notify" not in text, path
    functions = {
        row["proname"]: row
        for row in await schema.fetch(
            "SELECT proname, prosrc, prorettype = 'trigger'::regtype AS trigger FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace AND prosrc <> ''"
        )
    }
    texts = list(said.values())
    called = {name for name, row in functions.items() if row["trigger"]}
    while texts:
        words = set(re.findall(r"\w+", texts.pop()))
        called |= (found := {name for name in functions if name in words} - called)
        texts += [functions[name]["prosrc"] for name in found]
    assert {"end_run_v2", "append_events_v2", "callbacks_become_due"} <= called
    assert [name for name in called if "pg_notify" in functions[name]["prosrc"]] == []

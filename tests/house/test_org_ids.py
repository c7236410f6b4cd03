"""Organizations can be spread over several databases (docs/guide/scale.md): every tenant table leads its keys with
`org_id`, and every statement asks for one organization, but those that say in their comment that they serve all."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.support.databases import Databases
from tests.support.plans import plan_of, scans_without
from tests.support.statements import NAMED, SOURCE, filled, statements_of

OF_ALL: Final = re.compile(r"^-- .*\bof all (tenants|organizations)\b", re.IGNORECASE | re.MULTILINE)
"""In the comment of a statement that serves all organizations at once: jobs are claimed, leases released, old rows
swept. It runs in each database by itself."""
FILES_OF_ALL: Final = {
    "bases/checks.sql": "the doctor counts over all organizations, or over the one that is asked for",
    "conversations/checks.sql": "the same",
    "journal/checks.sql": "the same",
    "runs/checks.sql": "the same",
    "traces/checks.sql": "the same",
    "db/backup/queries.sql": "a backup holds a whole database",
    "db/scrub.sql": "a scrub rewrites a whole database",
}
NOBODYS: Final = {
    "models": "the catalogue of the nodes has no organization; a distributed database keeps it whole on each server"
}
"""Tables whose `org_id` may be NULL."""
DIRECTORY: Final = {
    "access_keys", "sessions", "revoked_keys", "personal_tokens", "user_sessions", "invitations", "org_members",
}  # fmt: skip
"""Tables that the slice `access` reads by the hash of a secret or by a user, to learn which organization a request is
of: the directory that every database needs, or asks."""
ONE_INDEX: Final = {
    "index/queries.sql nearest_by_graph": "it reads a table that holds one index of one organization, by its HNSW",
    "index/queries.sql nearest_by_graph_of": "the same",
}
UNIQUE_OVER_ALL: Final = {
    "access_keys_hash_key": "directory: a key's hash leads to its organization",
    "personal_tokens_hash_key": "directory",
    "user_sessions_hash_key": "directory",
    "sessions_hash_key": "directory",
    "invitations_hash_key": "directory",
    "oauth_attempts_state_key": "directory: the `state` that a service sends back",
    "triggers_hook_hash_key": "directory: the secret in a webhook's URL",
    "apps_id_key": "directory: the hostname of an app names it",
    "artifact_shares_by_id": "directory: a link that anybody may open names it",
    "knowledge_indexes_index_id_key": "it names tables of vectors, which each database has for itself",
}
"""Unique indexes of tenant tables without `org_id`, and why."""
SCOPE: Final = "its statements are put together with scope_of_lists(), which begins with org_id = …"
FUNCTIONS_WITHOUT: Final = {
    "page_of_list": SCOPE,
    "place_in_list": SCOPE,
    "matching_conversations": SCOPE,
    "newest_matching_conversations": SCOPE,
    "newest_with_words": SCOPE,
    "page_by_moment": SCOPE,
    "page_by_status": SCOPE,
    "page_by_title": SCOPE,
    "oldest_of_list": SCOPE,
    "capture_change": "it reads the changed row and no table",
    "ids_elsewhere": "it asks whether other organizations have an id; each database is asked by itself",
    "widen_policies": "it reads the catalogue of policies",
}
"""Functions of the schema that read tenant tables without `org_id = …` in their text, and why."""


@pytest.fixture(scope="module")
async def template(cluster: Databases) -> AsyncIterator[asyncpg.Connection]:
    """The migrated schema. Tests read from it only."""
    connection = await asyncpg.connect(await cluster.copy("org_ids"))
    await connection.execute("SET plan_cache_mode = force_generic_plan")  # With NULLs for parameters nothing is read.
    yield connection
    await connection.close()
    await cluster.drop("org_ids")


async def tenant_tables(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    )
    return {row["relname"] for row in rows} - set(NOBODYS)


async def test_every_tenant_table_leads_its_key_with_the_organization(template: asyncpg.Connection) -> None:
    """Its primary key; without one, an index."""
    rows = await template.fetch(
        "SELECT c.relname, a.attnotnull AND EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid"
        "   AND i.indkey[0] = a.attnum AND i.indpred IS NULL"
        "   AND (i.indisprimary OR NOT EXISTS (SELECT 1 FROM pg_index k WHERE k.indrelid = c.oid AND k.indisprimary))"
        " ) AS leads"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    )
    assert len(rows) >= 60
    assert {row["relname"] for row in rows if not row["leads"]} == set(NOBODYS)


async def test_what_is_unique_is_unique_within_an_organization(template: asyncpg.Connection) -> None:
    """A distributed table can promise no more, and two databases cannot either."""
    rows = await template.fetch(
        "SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS relation"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'"
        " WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND NOT a.attnum = ANY (i.indkey)"
    )
    found = {row["name"] for row in rows if row["relation"] not in NOBODYS}
    assert found == set(UNIQUE_OVER_ALL)


async def test_foreign_keys_between_tenant_tables_stay_within_an_organization(template: asyncpg.Connection) -> None:
    tenant = await tenant_tables(template)
    rows = await template.fetch(
        "SELECT k.conrelid::regclass::text AS source, k.confrelid::regclass::text AS target,"
        "       pg_get_constraintdef(k.oid) AS definition"
        " FROM pg_constraint k WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace"
    )
    between = [row for row in rows if {row["source"], row["target"]} <= tenant]
    assert len(between) >= 30
    assert [row["definition"] for row in between if "(org_id, " not in row["definition"]] == []


@pytest.mark.parametrize("file", NAMED, ids=lambda file: str(file.relative_to(SOURCE)))
async def test_every_statement_asks_for_one_organization(template: asyncpg.Connection, file: Path) -> None:
    """By PostgreSQL's own plan, made as the owner of the tables: row-level security adds no condition to it."""
    name_of_file = str(file.relative_to(SOURCE))
    tenant = await tenant_tables(template) - (DIRECTORY if name_of_file.startswith("access/") else set())
    missing: dict[str, object] = {}
    for name, text in statements_of(file).items():
        if not re.search(r"^(WITH|SELECT|INSERT|UPDATE|DELETE|MERGE)\b", text, re.MULTILINE):
            continue  # SET, LISTEN, CREATE: no rows.
        without = scans_without("org_id", await plan_of(template, filled(text)), tenant)
        if without and not OF_ALL.search(text):
            missing[f"{name_of_file} {name}"] = without
    if name_of_file in FILES_OF_ALL:
        assert missing, "the file needs no exception any more"
    else:
        assert set(missing) == {one for one in ONE_INDEX if one.startswith(f"{name_of_file} ")}, missing


HASHED: Final = """
SELECT 1 FROM runs r WHERE r.org_id = $1 AND ($2::boolean
    OR EXISTS (SELECT FROM messages m WHERE m.org_id = r.org_id AND m.run_id = r.id))
"""


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT status FROM runs WHERE id = $1", ["runs runs"]),
        ("SELECT status FROM runs WHERE org_id = $1 OR id = $2", ["runs runs"]),
        ("SELECT status FROM runs WHERE org_id <> $1", ["runs runs"]),
        (
            "SELECT r.status FROM runs r JOIN messages m ON m.org_id = r.org_id WHERE r.id = $1",
            ["runs r", "messages m"],
        ),
        ("SELECT r.status FROM runs r JOIN messages m ON m.run_id = r.id WHERE r.org_id = $1", ["messages m"]),
        ("SELECT r.status FROM runs r JOIN messages m USING (org_id) WHERE m.org_id = $1", []),
        ("DELETE FROM runs r USING unnest($1::uuid[]) AS o (id) WHERE r.org_id = o.id", []),
        ("SELECT 1 FROM runs WHERE (org_id, id) = ($1, $2)", []),
        (HASHED, []),
    ],
)
async def test_the_check_finds_what_is_missing(
    template: asyncpg.Connection, statement: str, expected: list[str]
) -> None:
    found = scans_without("org_id", await plan_of(template, statement), {"runs", "messages"})
    assert sorted(found) == sorted(expected)


async def test_every_function_asks_for_one_organization(template: asyncpg.Connection) -> None:
    """By its text: PostgreSQL plans no statement of PL/pgSQL without running it."""
    tenant = await tenant_tables(template)
    rows = await template.fetch(
        "SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
        " WHERE p.pronamespace = 'public'::regnamespace AND l.lanname IN ('sql', 'plpgsql')"
    )
    assert len(rows) >= 25
    without = {row["proname"] for row in rows if reads_without(row["prosrc"], tenant)}
    assert without == set(FUNCTIONS_WITHOUT)


def reads_without(source: str, tenant: set[str]) -> list[str]:
    """Statements of a function that read, change or delete rows of a tenant table and compare its `org_id` with
    nothing; of tables with an alias each must."""
    found: list[str] = []
    for statement in re.sub(r"--[^\n]*", "", source).split(";"):
        if "format(" in statement:
            found += [statement] if re.search(r"\b(FROM|UPDATE|JOIN)\b", statement) else []
            continue
        reads = re.findall(
            r"\b(?:FROM|JOIN|(?<!DO )(?<!KEY )UPDATE)\s+(?:public\.)?(\w+)(?:\s+(?:AS\s+)?(\w+))?", statement
        )
        for table, alias in reads:
            if table not in tenant:
                continue
            named = alias if alias and not re.fullmatch(r"(?i)where|set|on|order|for|limit|join", alias) else None
            pattern = rf"\b{named}\.org_id =|= {named}\.org_id\b" if named else r"\borg_id ="
            if not re.search(pattern, statement):
                found.append(f"{table}: {statement.strip()}")
    return found

"""Organizations can be spread over several databases (docs/guide/scale.md): every tenant table leads its keys with
`org_id`, and every statement asks for one organization, but those that say in their comment that they serve all."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.support.databases import Databases
from tests.support.plans import nodes, plan_of, scans_without
from tests.support.statements import NAMED, SOURCE, filled, statements_of

OF_ALL: Final = re.compile(r"^-- .*\bof all (tenants|organizations)\b", re.IGNORECASE | re.MULTILINE)
"""In the comment of a statement that serves all organizations at once: nodes claim jobs, the doctor counts, a
credential is looked up before anybody knows whose it is. Each runs once per database."""
NOBODYS: Final = {
    "models": "the nodes' own catalogue has no organization; a distributed database holds it whole on each of its nodes"
}
"""Tables whose `org_id` may be NULL."""
UNIQUE_OVER_ALL: Final[dict[str, str]] = {}
"""Unique indexes of tenant tables without `org_id`, and why: each needs the directory that says where an organization
is."""
FUNCTIONS_WITHOUT: Final[dict[str, str]] = {}
"""Functions of the schema that read tenant tables without `org_id = …`, and why."""


@pytest.fixture(scope="module")
async def template(cluster: Databases) -> AsyncIterator[asyncpg.Connection]:
    """The migrated schema. Tests read from it only."""
    connection = await asyncpg.connect(await cluster.copy("org_ids"))
    # An index must never be too dear: the plan is to show where a condition is, whatever tables hold.
    yield connection
    await connection.close()
    await cluster.drop("org_ids")


async def tenant_tables(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    )
    return {row["relname"] for row in rows} - set(NOBODYS)


async def test_every_tenant_table_leads_its_primary_key_with_the_organization(template: asyncpg.Connection) -> None:
    rows = await template.fetch(
        "SELECT c.relname, a.attnotnull, (SELECT pg_get_constraintdef(p.oid) FROM pg_constraint p"
        "  WHERE p.conrelid = c.oid AND p.contype = 'p') AS key"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    )
    assert len(rows) >= 60
    wrong = {
        row["relname"]: row["key"]
        for row in rows
        if not row["attnotnull"] or not (row["key"] or "").startswith(("PRIMARY KEY (org_id,", "PRIMARY KEY (org_id)"))
    }
    assert set(wrong) == set(NOBODYS), wrong


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
    tenant = await tenant_tables(template)
    missing, needless = {}, []
    for name, text in statements_of(file).items():
        if not re.search(r"^(WITH|SELECT|INSERT|UPDATE|DELETE|MERGE)\b", text, re.MULTILINE):
            continue  # SET, LISTEN, CREATE: no rows.
        without = scans_without("org_id", await plan_of(template, filled(text)), tenant)
        if without and not OF_ALL.search(text):
            missing[name] = without
    assert missing == {}


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
        reads = re.findall(r"\b(?:FROM|JOIN|(?<!DO )(?<!KEY )UPDATE)\s+(?:public\.)?(\w+)(?:\s+(?:AS\s+)?(\w+))?", statement)
        for table, alias in reads:
            if table not in tenant:
                continue
            named = alias if alias and not re.fullmatch(r"(?i)where|set|on|order|for|limit|join", alias) else None
            pattern = rf"\b{named}\.org_id =|= {named}\.org_id\b" if named else r"\borg_id ="
            if not re.search(pattern, statement):
                found.append(f"{table}: {statement.strip()}")
    return found

"""Statements for the tables that slices declare, and the rows of imports. Every function takes its transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.db.blobs import Blobs
from stoa.db.exported import Exported
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.transfer.types import Import, ImportStatus, Known

SQL: Final = load("stoa.transfer")
_SCOPE: Final = ("org_id", "project_id")


@dataclass(frozen=True, slots=True)
class Table:
    """An exported table, as read from PostgreSQL's catalogue."""

    exported: Exported
    types: Mapping[str, str]
    """Exported column → its type."""
    key: Sequence[str]
    """Columns of the primary key, without org_id and project_id."""
    models: frozenset[str]
    """Columns that refer to a model."""
    by_id: bool
    """Whether the primary key is (org_id, id)."""

    @property
    def name(self) -> str:
        return self.exported.table

    @property
    def known(self) -> Known:
        return Known(frozenset(self.types), bool(self.exported.contents))


def blobs_of(table: Table) -> Blobs:
    """The blob store of a table's contents. A table uses only one."""
    return next(iter(table.exported.contents.values()))


async def tables(tx: Tx, exported: Sequence[Exported]) -> Sequence[Table]:
    """In an order in which they can be written: a table comes after those that it refers to."""
    names = [one.table for one in exported]
    types: dict[str, dict[str, str]] = {name: {} for name in names}
    keys: dict[str, dict[int, str]] = {name: {} for name in names}
    for row in await tx.fetch(SQL.columns, names):
        types[row["table"]][row["column"]] = row["type"]
        if row["place"] is not None:
            keys[row["table"]][row["place"]] = row["column"]
    named: dict[str, set[str]] = {one.table: set(one.follows.values()) for one in exported}
    models: dict[str, set[str]] = {name: set() for name in names}
    for row in await tx.fetch(SQL.references, names):
        if row["named"] in types and row["named"] != row["table"]:
            named[row["table"]].add(row["named"])
        if row["named"] == "models":
            models[row["table"]].add(row["column"])
    made = {
        one.table: Table(
            one,
            {name: kind for name, kind in types[one.table].items() if name not in (*_SCOPE, *one.left_out)},
            [name for _, name in sorted(keys[one.table].items()) if name not in _SCOPE],
            frozenset(models[one.table] - set(_SCOPE)),
            [name for _, name in sorted(keys[one.table].items())] == ["org_id", "id"]
            and types[one.table]["id"] == "uuid",
        )
        for one in exported
    }
    return [made[name] for name in _ordered(names, named)]


def _ordered(names: Sequence[str], named: Mapping[str, set[str]]) -> Sequence[str]:
    done: list[str] = []
    while len(done) < len(names):
        ready = [name for name in names if name not in done and named[name] <= set(done)]
        assert ready, f"tables name one another in a circle: {set(names) - set(done)}"
        done.extend(ready)
    return done


def reading(table: Table, *, resumed: bool) -> str:
    """$1 is the organization, $2 the project; if `resumed`, $3 … are the key of the last row that was read."""
    columns = ", ".join(f't."{name}"::text AS "{name}"' for name in table.types)
    key = ", ".join(f't."{name}"' for name in table.key)
    texts = ", ".join(f't."{name}"::text' for name in table.key)
    after = ", ".join(f"${at}::text::{_type(table, name)}" for at, name in enumerate(table.key, 3))
    behind = f" AND ({key}) > ({after})" if resumed else ""
    return (
        f"SELECT (SELECT json_strip_nulls(row_to_json(x)) FROM (SELECT {columns}) x)::text AS line,"  # noqa: S608
        f" ARRAY[{texts}] AS key FROM {table.name} t"
        f" WHERE t.org_id = $1 AND t.project_id = $2 AND ({table.exported.rows}){behind} ORDER BY {key}"
    )


def _type(table: Table, name: str) -> str:
    return "text" if table.types[name].startswith("character") else table.types[name]


def contents(table: Table) -> str:
    """The hashes of the contents that the rows name, without duplicates, after $3."""
    each = " UNION ".join(
        f'SELECT t."{column}" AS sha256 FROM {table.name} t'  # noqa: S608
        f" WHERE t.org_id = $1 AND t.project_id = $2 AND ({table.exported.rows})"
        for column in table.exported.contents
    )
    return (
        f"SELECT encode(c.sha256, 'hex') AS sha256 FROM ({each}) c WHERE c.sha256 IS NOT NULL"  # noqa: S608
        " AND encode(c.sha256, 'hex') COLLATE \"C\" >= $3 ORDER BY encode(c.sha256, 'hex') COLLATE \"C\""
    )


def to_fill_in(table: Table) -> str | None:
    if table.exported.to_fill_in is None:
        return None
    return (
        f"SELECT x.what FROM (SELECT {table.exported.to_fill_in} AS what FROM {table.name} t"  # noqa: S608
        f" WHERE t.org_id = $1 AND t.project_id = $2 AND ({table.exported.rows})) x"
        " WHERE x.what IS NOT NULL ORDER BY x.what LIMIT $3"
    )


def writing(table: Table, columns: Sequence[str], names: Mapping[str, str], models: Mapping[UUID, UUID]) -> str:
    """Inserts the records of $1, a JSON array of objects whose values are strings. `names` are SQL expressions for ids
    of the importing side; `models` maps the exporting server's models to this server's."""
    one = table.exported
    texts = ", ".join(f'"{name}" text' for name in columns)
    there = {name: f'r."{name}"' for name in columns}
    typed = ", ".join(f'{there.get(name, "NULL")}::{kind} AS "{name}"' for name, kind in table.types.items())
    values = {name: _value(table, name, models) for name in columns}
    for name, text in one.on_import.items():
        values[name] = f"({_filled(text, names)})::{table.types[name]}"
    numbering, kept, overriding = "", "", ""
    if one.renumbered is not None:
        numbering = f", nextval(pg_get_serial_sequence('{one.table}', '{one.renumbered}')) AS numbered_anew"
        kept = (
            f", kept AS (INSERT INTO import_numbers SELECT '{one.table}', t.\"{one.renumbered}\","  # noqa: S608
            " t.numbered_anew FROM t)"
        )
        values[one.renumbered], overriding = "t.numbered_anew", " OVERRIDING SYSTEM VALUE"
    into = ", ".join(["org_id", "project_id", *(f'"{name}"' for name in values)])
    return (
        f"WITH t AS MATERIALIZED (SELECT {typed}{numbering} FROM json_to_recordset($1::text::json) AS r({texts})){kept}"  # noqa: S608
        f" INSERT INTO {one.table} ({into}){overriding}"
        f" SELECT {names['org']}, {names['project']}, {', '.join(values.values())} FROM t"
    )


def _filled(text: str, names: Mapping[str, str]) -> str:
    for placeholder, sql in names.items():
        text = text.replace(f"{{{placeholder}}}", sql)
    return text


def _value(table: Table, name: str, models: Mapping[UUID, UUID]) -> str:
    if (of := table.exported.follows.get(name)) is not None:
        return f"(SELECT n.new FROM import_numbers n WHERE n.of = '{of}' AND n.old = t.\"{name}\")"  # noqa: S608
    if name in table.models and models:
        choices = " ".join(f"WHEN '{there}' THEN '{here}'::uuid" for there, here in models.items())
        return f'CASE t."{name}" {choices} ELSE t."{name}" END'
    return f't."{name}"'


async def import_(tx: Tx, org_id: UUID, import_id: UUID) -> Import:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.import_, org_id, import_id)
    if row is None:
        raise no_import(import_id)
    return _import(row)


async def list_imports(tx: Tx, org_id: UUID, page: PageRequest) -> tuple[Sequence[Import], int]:
    rows = await tx.fetch(SQL.list_imports, org_id, page.page_size, page.offset)
    return [_import(row) for row in rows], await tx.fetchval(SQL.count_imports, org_id)


def _import(row: Row) -> Import:
    manifest: Mapping[str, Any] = row["manifest"]
    return Import(
        row["id"],
        row["project_id"],
        ImportStatus(row["status"]),
        manifest,
        row["received"],
        row["report"],
        row["created_by"],
        row["created_at"],
        row["expires_at"],
        row["applied_at"],
    )


def no_import(import_id: UUID) -> NotFound:
    return NotFound(f"There is no import {import_id}; one that was not applied is dropped after a week.")

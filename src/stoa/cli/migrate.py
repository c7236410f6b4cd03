"""`stoa migrate`: migrates a database to this version's schema without starting a server, or shows the plan."""

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from stoa.cli.asking import Json, fail, out
from stoa.cli.operating import Config, DataDir, settings


def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done, and what it locks.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Bring the database to this version's schema, as the start of a server does, while older nodes go on.

    --plan changes nothing: it lists the migrations that are missing, what each of their statements locks, how large
    that table is, and about how long it takes.
    """
    from stoa.cli.doctor import NoDatabase, database_of  # noqa: PLC0415 — the database's weight
    from stoa.db import migrate as migrating  # noqa: PLC0415
    from stoa.db import planning  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415

    chosen = settings(config, data_dir=data_dir)

    async def found() -> tuple[planning.Plan, list[str]]:
        async with database_of(chosen) as dsn:
            planned = await planning.plan(dsn)
            return planned, [] if plan else await migrating.migrate(dsn)

    try:
        planned, done = asyncio.run(found())
    except (EmbeddedError, NoDatabase, migrating.SchemaError) as error:
        raise fail(str(error)) from error
    shown = _shown(planned)
    if as_json:
        sys.stdout.write(json.dumps({**shown, "applied": done} if not plan else shown, indent=1) + "\n")
    elif plan:
        _print(shown)
    else:
        out.print(f"{len(done)} migrations were applied. The schema is {planned.newest}.")


def _shown(planned: Any) -> dict[str, Any]:
    return {
        "schema": planned.schema,
        "newest": planned.newest,
        "open_transaction": planned.oldest_transaction,
        "migrations": [
            {
                "name": step.name,
                "in_one_transaction": not step.outside,
                "statements": [
                    {
                        "statement": one.locking.statement,
                        "table": one.locking.table,
                        "lock": one.locking.mode,
                        "holds": one.locking.hold.value,
                        "bytes": one.size.bytes if one.size else None,
                        "rows": one.size.rows if one.size else None,
                        "seconds": one.seconds,
                        "keeps_others_out": one.blocks_others,
                    }
                    for one in step.statements
                ],
            }
            for step in planned.steps
        ],
    }


def _print(shown: dict[str, Any]) -> None:
    if shown["schema"] == 0:
        out.print(f"The database is empty: a start makes schema {shown['newest']}.")
        return
    if not shown["migrations"]:
        out.print(f"The schema is {shown['schema']}, which is this version's: a start changes nothing.")
        return
    out.print(f"Schema {shown['schema']} becomes {shown['newest']}, in {len(shown['migrations'])} migrations.")
    for step in shown["migrations"]:
        how = "in one transaction" if step["in_one_transaction"] else "statement by statement"
        out.print(f"\n{step['name']}, {how}", markup=False)
        for one in step["statements"]:
            if one["lock"] is not None and one["table"] is not None:
                out.print(f"  {_line(one)}", markup=False)
    long = [one for step in shown["migrations"] for one in step["statements"] if one["keeps_others_out"]]
    out.print(
        f"\n{len(long)} statements keep others out for as long as their tables are large: choose a quiet hour."
        if long
        else "\nNothing keeps others out for longer than moments: restart one node after the other."
    )
    if shown["open_transaction"] is not None:
        out.print(f"A transaction is open, which migrations wait for: {shown['open_transaction']}", markup=False)


def _line(one: dict[str, Any]) -> str:
    size = "" if one["bytes"] is None else f" ({one['bytes'] / 1e6:,.1f} MB, {one['rows']:,} rows)"
    took = "" if one["seconds"] is None else f", about {max(one['seconds'], 0.1):,.1f} s"
    mark = "! " if one["keeps_others_out"] else ""
    return f"{mark}{one['lock']} on {one['table']}{size}: {one['holds']}{took}. {one['statement'][:80]}"

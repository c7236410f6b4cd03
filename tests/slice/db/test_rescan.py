"""The re-scan finds what the deletion does not know: it asks the catalogue, so a table of tomorrow is looked at
tomorrow."""

from uuid import UUID, uuid4

import asyncpg
import pytest

from stoa.db.rescan import NAMES_OTHERS, RECEIPTS, names_others, rescan
from stoa.db.sql import load
from tests.conftest import Running

COLUMNS = load("stoa.db", "rescan.sql").columns


@pytest.mark.parametrize("column", ["thing uuid", "things uuid[]"])
async def test_a_deletion_with_a_remaining_row_is_not_verified(running: Running, column: str) -> None:
    conversation = await running.conversation()
    run = await running.ask(conversation)
    database = await asyncpg.connect(running.dsn)
    try:
        await database.execute(f"CREATE TABLE forgotten (org_id uuid, project_id uuid, {column})")
        org_id = await database.fetchval("SELECT id FROM orgs")
        run_id = UUID(run["id"])
        await database.execute(
            "INSERT INTO forgotten VALUES ($1, $1, $2)",
            org_id,
            run_id if column.startswith("thing ") else [uuid4(), run_id],
        )
        deleted = await running.call("DELETE", f"/v1/conversations/{conversation}")
        path = f"/v1/deletions/{deleted['deletion_id']}"
        assert "verified_at" not in (await running.call("GET", path))["data"]
        found = await rescan(database, org_id, [run_id, UUID(conversation)])
        assert found == {f"forgotten.{column.split(maxsplit=1)[0]}": 1}
        assert await rescan(database, uuid4(), [run_id]) == {}
    finally:
        await database.close()


async def test_an_index_leads_to_every_column_that_a_proof_covers(dsn: str) -> None:
    """So a proof takes as long in a large database as in a small one. A new column has an index, or its meaning in
    NAMES_OTHERS."""
    database = await asyncpg.connect(dsn)
    try:
        columns = await database.fetch(COLUMNS, list(RECEIPTS))
        found = {f"{row['table']}.{row['column']}": row["indexed"] for row in columns}
        assert [name for name, indexed in found.items() if not indexed and not names_others(*name.split("."))] == []
        names = {*found, *(f"*.{name.split('.')[1]}" for name in found)}
        assert set(NAMES_OTHERS) <= names, "these columns are gone"
        await database.execute("CREATE TABLE forgotten (org_id uuid, thing uuid)")
        columns = await database.fetch(COLUMNS, list(RECEIPTS))
        assert [row["indexed"] for row in columns if row["table"] == "forgotten"] == [False]
    finally:
        await database.close()


async def test_a_proof_reads_a_forgotten_table_at_any_size(dsn: str) -> None:
    database = await asyncpg.connect(dsn)
    try:
        org_id, lost = uuid4(), uuid4()
        await database.execute("CREATE TABLE forgotten (org_id uuid, thing uuid)")
        await database.execute(
            "INSERT INTO forgotten SELECT $1, gen_random_uuid() FROM generate_series(1, 1000)", org_id
        )
        await database.execute("INSERT INTO forgotten VALUES ($1, $2)", org_id, lost)
        await database.execute("UPDATE pg_class SET reltuples = 5e8 WHERE relname = 'forgotten'")
        assert await rescan(database, org_id, [lost]) == {"forgotten.thing": 1}
    finally:
        await database.close()

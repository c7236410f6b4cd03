"""The re-scan finds what the deletion does not know: it asks the catalogue, so a table of tomorrow is looked at
tomorrow."""

from uuid import UUID, uuid4

import asyncpg
import pytest

from stoa.db.rescan import rescan
from tests.conftest import Running


@pytest.mark.parametrize("column", ["thing uuid", "things uuid[]"])
async def test_a_row_that_was_forgotten_is_not_verified_away(running: Running, column: str) -> None:
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

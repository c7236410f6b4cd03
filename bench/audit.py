"""What a line of the audit costs, and what writers would wait for if each chained its own line:
`python -m bench.audit`.

Sixteen writers of one organization, each transaction a change of an app and its line. `later`: as the server does it,
while one sealer works beside them. `within`: each transaction locks the head of the chain until its commit. `none`:
without a line. Milliseconds per transaction (median, 99th percentile) and transactions per second, as JSON.
"""

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from stoa.access.auditing import Audit
from stoa.db import Database
from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate

WRITERS, TIMES = 16, 150
RECORD = "SELECT record_audit($1, NULL, $1, NULL, 'app.update', $2, 'r', 'PATCH', '/v1/apps/x', '127.0.0.1', 'bench')"
LOCK = "SELECT sequence FROM audit_heads WHERE org_id = $1 FOR UPDATE"


async def write(dsn: str, org_id: UUID, app_id: UUID, way: str, took: list[float]) -> None:
    connection = await asyncpg.connect(dsn)
    for number in range(TIMES):
        begun = time.perf_counter()
        async with connection.transaction():
            await connection.execute(
                "UPDATE apps SET name = $3 WHERE org_id = $1 AND id = $2", org_id, app_id, f"name {number}"
            )
            if way == "within":
                await connection.execute(LOCK, org_id)
            if way != "none":
                await connection.execute(RECORD, org_id, app_id)
        took.append((time.perf_counter() - begun) * 1000)
    await connection.close()


async def measure(dsn: str, org_id: UUID, apps: list[UUID], way: str) -> dict[str, float]:
    took: list[float] = []
    database = await Database.open(dsn, connections_max=2)
    audit = Audit(database)
    if way == "later":
        await audit.start()
    begun = time.perf_counter()
    await asyncio.gather(*(write(dsn, org_id, app_id, way, took) for app_id in apps))
    seconds = time.perf_counter() - begun
    await audit.stop()
    await database.close()
    ranked = statistics.quantiles(took, n=100)
    return {"p50": round(ranked[49], 2), "p99": round(ranked[98], 2), "per_second": round(len(took) / seconds)}


async def main(home: Path) -> None:
    embedded = await start_embedded(home / "cluster")
    try:
        await migrate(embedded.dsn)
        org_id, project_id = uuid4(), uuid4()
        apps = [uuid4() for _ in range(WRITERS)]
        connection = await asyncpg.connect(embedded.dsn)
        await connection.execute("INSERT INTO orgs (id, name) VALUES ($1, 'o')", org_id)
        await connection.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'p')", org_id, project_id)
        await connection.execute(
            "INSERT INTO audit_heads VALUES ($1, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING", org_id
        )
        for app_id in apps:
            await connection.execute(
                "INSERT INTO apps (org_id, project_id, id, name, access_type, latest_deployment_id)"
                " VALUES ($1, $2, $3, 'a', 'private', $3)",
                org_id,
                project_id,
                app_id,
            )
        await connection.close()
        found = {
            f"{way} {turn}": await measure(embedded.dsn, org_id, apps, way)
            for turn in (1, 2)
            for way in ("none", "later", "within")
        }
        print(json.dumps(found, indent=1))
    finally:
        await embedded.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="stoa-audit-") as directory:
        Path(directory).chmod(0o755)
        asyncio.run(main(Path(directory)))

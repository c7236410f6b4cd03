"""Background maintenance of the indexes; searches and writers continue meanwhile.

- An index of many chunks gets a table of its own, and an HNSW index on it, built concurrently; one that shrinks goes
  back.
- An HNSW index that has lost many of its vectors is rebuilt CONCURRENTLY: a VACUUM would repair the graph entry by
entry, for minutes.
- Postings written item by item are merged into larger blocks.
- The postings of an index from an older version are rebuilt in the present form (rebuilding.py).
- Tables that no index uses any more are dropped, a while after the last search that could know them.

The node with an index's advisory lock maintains it; PostgreSQL releases the lock with the connection. An index that a
dead node left half built is not valid; the next node drops and rebuilds it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from stoa.db import Database, connect
from stoa.db.internal import internal, internal_statement
from stoa.index import store
from stoa.index.normalizing import FORM
from stoa.index.rebuilding import rebuild
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.kernel.errors import Unavailable
from stoa.kernel.supervise import Supervisor, spread

LARGE_CHUNKS: Final = 5_000
"""From here on an exact scan takes longer (2 ms) than a walk of the graph with all around it."""
DIMENSIONS_MAX: Final = 4_000
"""What pgvector's HNSW takes of halfvec; vectors beyond are scanned exactly."""
EF_CONSTRUCTION: Final = 128
"""Twice pgvector's own: a graph that takes twice as long to build, and little more than half as many steps to search
for the same recall."""
UNMERGED_MAX: Final = 20_000
MERGE_FROM: Final = 8
"""Number of blocks of one size that are merged into one."""
MERGED_RECORDS: Final = 1_024
"""Of a block that is made of others, about: larger ones are read faster and cost more when an item goes
(docs/decisions/0017)."""
BLOCKS_BATCH: Final = 5_000
"""Merged in one transaction: writers of the index wait for a fraction of a second."""
MERGE_SECONDS_MAX: Final = 600.0
POLL_SECONDS: Final = 5.0
BUILD_SECONDS_MAX: Final = 4 * 3600.0
STRAY_SECONDS: Final = 120.0
"""A table without an index stays so long: longer than any search runs."""
_MEMORY: Final = "256MB"
_log = structlog.get_logger("stoa.index")


class Upkeep:
    """After `start` it checks every few seconds; `tend` does the due work now."""

    def __init__(
        self,
        database: Database,
        *,
        large_chunks: int = LARGE_CHUNKS,
        unmerged_max: int = UNMERGED_MAX,
        merged_records: int = MERGED_RECORDS,
        stray_seconds: float = STRAY_SECONDS,
    ) -> None:
        self._database = database
        self._merged_records = merged_records
        self._large_chunks = large_chunks
        self._unmerged_max = unmerged_max
        self._stray_seconds = stray_seconds
        self._strays: dict[str, float] = {}
        self._stemmer = Stemmer()
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._forever, "knowledge.upkeep")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(spread(POLL_SECONDS))
            with suppress(Unavailable, OSError):
                await self.tend()

    async def tend(self) -> None:
        """Does the due work of all tenants; skips indexes that another node maintains."""
        async with internal_statement(self._database) as tx:
            due = [
                (row["org_id"], row["index_id"])
                for row in await tx.fetch(SQL.due, self._unmerged_max, self._large_chunks, DIMENSIONS_MAX, FORM)
            ]
            strays = self._ripe([row["relname"] for row in await tx.fetch(SQL.stray_tables)])
        if not due and not strays:
            return
        connection = await connect(self._database.session_dsn)
        try:
            for org_id, index_id in due:
                if await connection.fetchval(SQL.try_lock_index, index_id):
                    await self._keep(connection, org_id, index_id)
                    await connection.fetchval(SQL.unlock_index, index_id)
            for name in strays:
                await self._drop_stray(connection, name)
        finally:
            await connection.close()

    def _ripe(self, names: list[str]) -> list[str]:
        """The strays that were seen long enough ago."""
        now = monotonic()
        self._strays = {name: self._strays.get(name, now) for name in names}
        return [name for name, since in self._strays.items() if now - since >= self._stray_seconds]

    async def _keep(self, connection: Any, org_id: UUID, index_id: int) -> None:
        state = await connection.fetchrow(SQL.state, org_id, index_id)
        if state is None:
            return
        if state["form"] < FORM:
            async with internal(self._database) as tx:
                items = await rebuild(tx, self._stemmer, org_id, index_id)
            _log.info("words built anew", index_id=index_id, items=items, form=FORM)
        if state["unmerged"] >= self._unmerged_max:
            await self._merge(connection, state)
        if state["own_table"] and state["chunks"] < self._large_chunks // 2:
            await self._move(connection, org_id, index_id, to_own=False)
        elif not state["own_table"] and state["chunks"] >= self._large_chunks and state["dimensions"] <= DIMENSIONS_MAX:
            await self._move(connection, org_id, index_id, to_own=True)
        state = await connection.fetchrow(SQL.state, org_id, index_id)
        if state is not None and state["own_table"]:
            await self._build(connection, state)

    async def _move(self, connection: Any, org_id: UUID, index_id: int, *, to_own: bool) -> None:
        """Moves all vectors to the other table in one transaction, so a search finds them in one of the two."""
        own = store.own_table(index_id)
        async with connection.transaction():
            state = await connection.fetchrow(SQL.lock_state, org_id, index_id)
            if state is None or state["own_table"] == to_own:
                return
            if to_own:
                await connection.execute(_TABLE.format(table=own, index_id=index_id), timeout=BUILD_SECONDS_MAX)
            source, target = (store.SHARED, own) if to_own else (own, "knowledge_vectors")
            await connection.execute(
                SQL.copy_vectors.format(target=target, source=source),
                org_id,
                index_id,
                timeout=BUILD_SECONDS_MAX,
            )
            await connection.execute(
                SQL.drop_vectors.format(vectors=source), org_id, index_id, timeout=BUILD_SECONDS_MAX
            )
            await connection.execute(SQL.set_home, org_id, index_id, to_own)
            await connection.execute(f"ANALYZE {target}", timeout=BUILD_SECONDS_MAX)
        _log.info("vectors moved", index_id=index_id, chunks=state["chunks"], own_table=to_own)

    async def _build(self, connection: Any, state: Any) -> None:
        """Builds an HNSW index, or rebuilds it if too many of its vectors were removed."""
        index_id, table = state["index_id"], store.own_table(state["index_id"])
        graphs = await connection.fetch(SQL.graphs, table)
        for half_built in [row["name"] for row in graphs if not row["valid"]]:
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {half_built}", timeout=BUILD_SECONDS_MAX)
        valid = [row["name"] for row in graphs if row["valid"]]
        worn = state["removed"] > max(self._large_chunks // 10, state["chunks"] // 5)
        if not valid or worn:
            name = next(f"{table}_{letter}" for letter in "abc" if f"{table}_{letter}" not in valid)
            await connection.execute(
                f"SET maintenance_work_mem = '{_MEMORY}'; SET max_parallel_maintenance_workers = 0"
            )
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON {table} "
                f"USING hnsw ((embedding::halfvec({state['dimensions']})) halfvec_ip_ops)"
                f" WITH (ef_construction = {EF_CONSTRUCTION})",
                timeout=BUILD_SECONDS_MAX,
            )
            for old in valid:
                await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}", timeout=BUILD_SECONDS_MAX)
            if worn:
                await connection.execute(f"VACUUM {table}", timeout=BUILD_SECONDS_MAX)
            _log.info("HNSW built", index_id=index_id, chunks=state["chunks"])
        removed = state["removed"] if worn or not valid else 0
        await connection.execute(SQL.set_graph, state["org_id"], index_id, removed)

    async def _merge(self, connection: Any, state: Any) -> None:
        """A few terms at a time: writers of this index wait for one batch at most."""
        org_id, index_id = state["org_id"], state["index_id"]
        scattered = await connection.fetch(
            SQL.scattered_terms, org_id, index_id, MERGE_FROM, self._merged_records, timeout=MERGE_SECONDS_MAX
        )
        for terms in _batches(scattered):
            async with connection.transaction():
                if await connection.fetchrow(SQL.lock_state, org_id, index_id) is None:
                    return
                await connection.execute(
                    SQL.merge, org_id, index_id, terms, MERGE_FROM, self._merged_records, timeout=MERGE_SECONDS_MAX
                )
        await connection.execute(SQL.merged, org_id, index_id, state["unmerged"])

    async def _drop_stray(self, connection: Any, name: str) -> None:
        """Drops it only while no transaction reads it, because other searches would queue behind the DROP."""
        if await connection.fetchval(SQL.is_read, name):
            return
        await connection.execute(f"DROP TABLE IF EXISTS {name}")
        self._strays.pop(name, None)
        _log.info("table dropped", table=name)


def _batches(scattered: Sequence[Any]) -> Iterator[list[str]]:
    batch: list[str] = []
    blocks = 0
    for row in scattered:
        batch.append(row["term"])
        blocks += row["blocks"]
        if blocks >= BLOCKS_BATCH:
            yield batch
            batch, blocks = [], 0
    if batch:
        yield batch


_TABLE: Final = """
DROP TABLE IF EXISTS {table};
CREATE TABLE {table} (PRIMARY KEY (ordinal), CHECK (index_id = {index_id}))
INHERITS (knowledge_vectors) WITH (autovacuum_enabled = false);
ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE MAIN, ALTER COLUMN embedding SET STATISTICS 0;
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {table} TO stoa_tenant
    USING (org_id = (SELECT stoa_org()) AND ((SELECT stoa_project()) IS NULL OR project_id = (SELECT stoa_project())
        OR project_id = ANY (coalesce((SELECT stoa_projects()), '{{}}'))));
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO stoa_tenant
"""
"""Under the shared one's policy. Its dead rows are swept with its HNSW, which autovacuum would otherwise repair entry
by entry. The key is the ordinal alone: one that led with org_id would look to the planner like a way to all rows that
beats the graph."""

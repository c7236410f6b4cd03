"""A sync outlives its node: the server dies at any statement of it, another goes on, and the outcome is that of a sync
nobody disturbed."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from stoa.db.internal import internal
from stoa.db.leases import Superseded
from stoa.kernel.leases import Places
from stoa.kernel.principal import Principal
from stoa.sources import store
from stoa.sources.types import Counts
from tests.conftest import FIRST_KEY, serving
from tests.support.crashes.dying_sync import DIED, die, parts
from tests.support.doubles import ScriptedModel
from tests.support.forking import context
from tests.support.knowledge import base_of, settled
from tests.support.origins import site
from tests.support.syncs import counts, create, ended, items_of, synced

TICKS = range(1, 120, 9)
AT_ONCE = 4
ANY = Places(4).wanted(4).arguments()
"""Claims whatever there is."""


@pytest.mark.timeout(240)
async def test_death_at_any_statement(dsn: str, room: Path) -> None:
    home, shared = room / "dying-syncs", room / "dying-shared"
    home.mkdir()
    shared.mkdir()
    for name in ("same", "changed", "lost"):
        (shared / f"{name}.md").write_text(f"The file {name}, as it was.")
    async with serving(dsn, home / "data", ScriptedModel(), source_directories=(shared,)) as server:
        base = await base_of(server)
        ids = {tick: (await create(server, base["id"], "directory", {"path": str(shared)}))["id"] for tick in TICKS}
        first = await asyncio.gather(*(synced(server, source_id) for source_id in ids.values()))
        assert all(counts(sync) == {"added": 3} for sync in first)
    (shared / "changed.md").write_text("The file changed, as it is now.")
    (shared / "lost.md").unlink()
    (shared / "new.md").write_text("The file new.")
    died = await leave_behind(dsn, home, shared, ids)
    assert len(died) >= 6, "a sync has many statements"
    async with serving(dsn, home / "data", ScriptedModel(), source_directories=(shared,)) as server:
        for tick in died:
            sync = await ended(server, ids[tick])
            assert (sync["status"], counts(sync)) == (
                "completed",
                {"added": 1, "updated": 1, "unchanged": 1, "deleted": 1},
            ), f"died at statement {tick}"
            assert sorted(await items_of(server, base["id"], ids[tick])) == ["changed.md", "new.md", "same.md"]
        await settled(server, base["id"])
    database = await asyncpg.connect(dsn)
    try:
        assert await database.fetchval("SELECT max(attempt) FROM knowledge_source_syncs") == 2
        assert await database.fetchval(
            "SELECT count(*) FROM knowledge_items WHERE source_id = ANY ($1)", [ids[tick] for tick in died]
        ) == 3 * len(died)
    finally:
        await database.close()


async def leave_behind(dsn: str, home: Path, shared: Path, ids: dict[int, str]) -> list[int]:
    """The ticks at which a server died in the middle of its sync."""
    died: list[int] = []
    ticks = list(ids)
    for start in range(0, len(ticks), AT_ONCE):
        batch = ticks[start : start + AT_ONCE]
        processes = [
            context().Process(target=die, args=(dsn, str(home), str(shared), ids[tick], tick)) for tick in batch
        ]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, 60)
        codes = [process.exitcode for process in processes]
        assert set(codes) <= {0, DIED}, codes
        died += [tick for tick, code in zip(batch, codes, strict=True) if code == DIED]
        if 0 in codes:
            return died
    raise AssertionError("the sync did not end within so many statements")


SERVE = """
import asyncio, sys
from pathlib import Path
from tests.conftest import serving
from tests.support.doubles import ScriptedModel
async def main(dsn, home):
    async with serving(dsn, Path(home), ScriptedModel(), allow_private_addresses=True) as server:
        print(server.url, flush=True)
        await asyncio.sleep(60)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_crawl_that_is_killed_is_taken_over_and_fetches_only_the_rest(dsn: str, room: Path) -> None:
    """kill -9 of a real process in the middle of a site; another node finds the sync at its first look."""
    async with site() as made:
        for number in range(12):
            made.page(f"/{number}", text=f"Page number {number}.")
        made.page("/", *(f"/{number}" for number in range(12)))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SERVE,
            dsn,
            str(room / "killed"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=Path.cwd(),
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(40):
                while not (url := (await process.stdout.readline()).decode().strip()).startswith("http"):
                    assert url, "the server did not start"
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {FIRST_KEY}"}) as client:
                base = (await client.post("/v1/knowledgebases", json={"name": "Site"})).json()["data"]
                body = {
                    "name": "Site",
                    "provider": "website",
                    "config": {"url": made.url, "delay_seconds": 0.02, "sitemap": False},
                }
                source = (await client.post(f"/v1/knowledgebases/{base['id']}/sources", json=body)).json()["data"]
                hold = made.answers["/7"].hold = asyncio.Event()
                await client.post(f"/v1/knowledgebase-sources/{source['id']}/sync")
                async with asyncio.timeout(20):
                    while (await client.get(f"/v1/knowledgebase-sources/{source['id']}/sync")).json()["data"]["counts"][
                        "added"
                    ] < 8:
                        await asyncio.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            hold.set()
            asked = len(made.visits())
            async with serving(dsn, room / "killed", ScriptedModel(), allow_private_addresses=True) as server:
                done = await ended(server, source["id"])
                assert (done["status"], counts(done)) == ("completed", {"added": 13})
                assert [made.visits(f"/{number}").count(200) for number in range(12) if number != 7] == [1] * 11, (
                    "no page was fetched twice"
                )
                assert len(made.visits()) - asked <= 6
                assert len(await items_of(server, base["id"], source["id"])) == 13
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def one_source(dsn: str, home: Path, shared: Path) -> str:
    """A base with a directory of one file, synced; gives the source's id."""
    shared.mkdir()
    (shared / "a.md").write_text("A file.")
    async with serving(dsn, home, ScriptedModel(), source_directories=(shared,)) as server:
        base = await base_of(server)
        source = await create(server, base["id"], "directory", {"path": str(shared)})
        await synced(server, source["id"])
        await settled(server, base["id"])
    return str(source["id"])


async def test_a_deletion_whose_node_died_is_finished_by_another(dsn: str, room: Path) -> None:
    """The source is gone for everybody from the first statement on; its items, its syncs and a clone follow at the next
    sweep."""
    home, shared = room / "half-deleted", room / "half-shared"
    source_id = await one_source(dsn, home, shared)
    (home / "sources" / source_id).mkdir(parents=True)
    async with parts(dsn, home, shared) as another:
        async with internal(another.database) as tx:
            await tx.execute(
                "UPDATE knowledge_sources SET deleting = 'delete', updated_at = now() - interval '1 minute'"
            )
        await another.worker.sweep()
        await another.worker.sweep()
        async with internal(another.database) as tx:
            for table in (
                "knowledge_sources",
                "knowledge_source_syncs",
                "knowledge_source_entries",
                "knowledge_items",
                "knowledge_chunks",
            ):
                assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    assert list((home / "sources").iterdir()) == []
    assert not [path for path in (home / "knowledge").rglob("*") if path.is_file()]


async def test_a_frozen_node_can_write_nothing_more(dsn: str, room: Path) -> None:
    """Its sync was taken over while it slept: whatever it does then finds no row of its own."""
    home, shared = room / "frozen", room / "frozen-shared"
    source_id = await one_source(dsn, home, shared)
    (shared / "b.md").write_text("Another.")
    async with parts(dsn, home, shared) as frozen:
        async with internal(frozen.database) as tx:
            row = await tx.fetchrow("SELECT org_id, project_id FROM knowledge_sources")
            assert row is not None
        principal = Principal(row["org_id"], row["project_id"], row["org_id"])
        await frozen.sources.sync(principal, UUID(source_id), confirm_deletions=False)
        async with internal(frozen.database) as tx:
            claimed = store.sync_of((await tx.fetch(store.CLAIM, frozen.node.id, *ANY, [], 60.0))[0])
            await tx.execute(
                "UPDATE knowledge_source_syncs SET deadline = now() - interval '1 second' WHERE id = $1", claimed.id
            )
        async with internal(frozen.database) as tx:
            taken = store.sync_of((await tx.fetch(store.CLAIM, uuid4(), *ANY, [], 60.0))[0])
        assert (taken.id, taken.attempt) == (claimed.id, 2)
        with pytest.raises(Superseded):
            await frozen.worker.work(claimed)
        async with internal(frozen.database) as tx:
            left = await tx.fetchrow(
                "SELECT status, attempt, found FROM knowledge_source_syncs WHERE id = $1", claimed.id
            )
            assert tuple(left or ()) == ("running", 2, 0)
            assert await tx.fetchval("SELECT count(*) FROM knowledge_items") == 1


async def test_settling_does_not_wait_for_who_asks_for_a_sync(dsn: str, room: Path) -> None:
    """Who asks holds the source and then the sync; who settles holds the sync: were one to wait for the source, both
    would wait for ever."""
    home, shared = room / "circle", room / "circle-shared"
    source_id = UUID(await one_source(dsn, home, shared))
    async with parts(dsn, home, shared) as server:
        async with internal(server.database) as tx:
            row = await tx.fetchrow("SELECT org_id, project_id FROM knowledge_sources")
            assert row is not None
        await server.sources.sync(
            Principal(row["org_id"], row["project_id"], row["org_id"]), source_id, confirm_deletions=False
        )
        async with internal(server.database) as tx:
            sync = store.sync_of((await tx.fetch(store.CLAIM, server.node.id, *ANY, [], 60.0))[0])
        async with internal(server.database) as asking, asyncio.timeout(5):
            await asking.fetchrow(store.SQL.lock_source, row["org_id"], source_id)
            async with internal(server.database) as settling:
                assert await store.settle(settling, sync, [store.Entry("b.md")], Counts(found=1)) is False
            assert await asking.fetchrow(store.SQL.confirm_active, row["org_id"], source_id, False)

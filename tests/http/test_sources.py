"""Sources over HTTP: what an origin holds becomes items, changes and deletions follow, and what goes wrong there breaks
nothing here."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from dulwich.repo import Repo

from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import FixedClock, ScriptedModel
from tests.support.knowledge import base_of, search, settled, sources
from tests.support.origins import Answer, GitWorld, Site, listing, site
from tests.support.syncs import counts, create, ended, fill, items_of, synced
from tests.support.terminal import Terminal


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    """One for all tests that do not mind one another. It may read `sources-shared/` in the session's room, and
    loopback."""
    (room / "sources-shared").mkdir()
    settings = {"allow_private_addresses": True, "source_directories": (room / "sources-shared",)}
    async with serving(await cluster.copy("sources"), room / "sources", ScriptedModel(), **settings) as running:
        yield running


@pytest.fixture
def docs(room: Path, request: pytest.FixtureRequest) -> Path:
    """A directory to come, below the one that the server may read."""
    return room / "sources-shared" / f"{request.node.name}-docs"


async def test_a_directory_becomes_items_and_stays_in_step(server: Running, docs: Path) -> None:
    fill(docs)
    base = await base_of(server)
    source = await create(
        server, base["id"], "directory", {"path": str(docs), "exclude": ["*.tmp"]}, metadata={"team": "travel"}
    )
    assert "sync" not in source
    await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/sync", 404)
    first = await synced(server, source["id"])
    assert (first["status"], first["trigger"], counts(first)) == ("completed", "manual", {"added": 3})
    await settled(server, base["id"])
    [hit] = await search(server, base["id"], "hotel night euros", limit=1)
    assert hit["metadata"]["source"] == hit["metadata"]["path"] == "travel/hotels.md"
    assert await search(server, base["id"], "hotel", filters={"team": "travel"})
    before = await items_of(server, base["id"], source["id"])
    assert {item["source_id"] for item in before.values()} == {source["id"]}

    again = await synced(server, source["id"])
    assert counts(again) == {"unchanged": 3}
    assert await items_of(server, base["id"], source["id"]) == before

    (docs / "travel" / "hotels.md").write_text("A hotel may cost 999 euros a night.")
    (docs / "note-0.txt").unlink()
    (docs / "new.md").write_text("Something new about bicycles.")
    third = await synced(server, source["id"])
    assert counts(third) == {"added": 1, "updated": 1, "unchanged": 1, "deleted": 1}
    await settled(server, base["id"])
    after = await items_of(server, base["id"], source["id"])
    assert sorted(after) == ["new.md", "note-1.txt", "travel/hotels.md"]
    assert after["travel/hotels.md"]["id"] == before["travel/hotels.md"]["id"], "replaced, not made anew"
    assert "999" in (await search(server, base["id"], "hotel euros", mode="keyword"))[0]["content"]
    assert sources(await search(server, base["id"], "note number 0", mode="keyword", limit=5)) <= {"note-1.txt"}

    shown = (await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}"))["data"]
    assert (shown["item_count"], shown["sync"]["id"]) == (3, third["id"])
    history = await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/syncs")
    assert [one["id"] for one in history["data"]] == [third["id"], again["id"], first["id"]]
    assert (await server.call("GET", f"/v1/knowledgebases/{base['id']}/sources"))["data"][0]["id"] == source["id"]


async def test_a_website_becomes_items(server: Running) -> None:
    async with site() as made:
        made.page("/", "/travel", "/sick", text="Welcome.")
        made.page("/travel", text="A hotel may cost 140 euros a night.")
        made.page("/sick", "/", text="Form HR-4711 is needed after three days.")
        base = await base_of(server)
        source = await create(server, base["id"], "website", {"url": made.url, "delay_seconds": 0})
        assert counts(await synced(server, source["id"])) == {"added": 3}
        assert {item["status"] for item in await settled(server, base["id"])} == {"processed"}
        [hit] = await search(server, base["id"], "HR-4711", mode="keyword")
        assert (hit["metadata"]["url"], hit["metadata"]["title"]) == (f"{made.url}/sick", "Page /sick")
        made.asked.clear()
        assert counts(await synced(server, source["id"])) == {"unchanged": 3}
        assert made.visits() == [304, 304, 304]


async def test_a_repository_and_a_bucket_become_items(server: Running, docs: Path) -> None:
    repo = Repo.init(str(docs), mkdir=True)
    await GitWorld(docs.parent, docs.as_uri(), repo).put("guide/travel.md", "A hotel may cost 140 euros a night.")
    head = repo.head().decode()
    repo.close()
    base = await base_of(server)
    source = await create(server, base["id"], "git", {"url": docs.as_uri(), "include": ["guide/"]})
    assert counts(await synced(server, source["id"])) == {"added": 1}
    async with site() as made:
        made.answers["/docs/?list-type=2&max-keys=1000"] = Answer(listing(("sick.md", 3)))
        made.answers["/docs/sick.md"] = Answer(b"Form HR-4711 is needed.", headers={"content-type": "text/markdown"})
        keys = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "s3cret"}
        bucket = await create(server, base["id"], "s3", {"bucket": "docs", "endpoint": made.url}, secrets=keys)
        assert counts(await synced(server, bucket["id"])) == {"added": 1}
        assert all(
            headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
            for _, _, headers in made.asked
        )
    await settled(server, base["id"])
    [page] = (await items_of(server, base["id"], source["id"])).values()
    assert {"path": "guide/travel.md", "commit": head, "repository": docs.as_uri()}.items() <= page["metadata"].items()
    [key] = (await items_of(server, base["id"], bucket["id"])).values()
    assert key["metadata"]["url"] == "s3://docs/sick.md"
    assert sources(await search(server, base["id"], "HR-4711", mode="keyword")) == {"sick.md"}


async def test_an_item_deleted_by_hand_comes_back(server: Running, docs: Path) -> None:
    fill(docs)
    base = await base_of(server)
    source = await create(server, base["id"], "directory", {"path": str(docs)})
    await synced(server, source["id"])
    item = (await items_of(server, base["id"], source["id"]))["note-0.txt"]
    await server.call("DELETE", f"/v1/knowledgebase-items/{item['id']}")
    assert counts(await synced(server, source["id"])) == {"added": 1, "unchanged": 2}


async def test_new_settings_reach_what_is_there(server: Running, docs: Path) -> None:
    fill(docs)
    base = await base_of(server)
    source = await create(server, base["id"], "directory", {"path": str(docs)}, metadata={"team": "a"})
    await synced(server, source["id"])
    await settled(server, base["id"])
    body = {
        "name": "Renamed",
        "provider": "directory",
        "config": {"path": str(docs), "exclude": ["note-0.txt"]},
        "metadata": {"team": "b"},
    }
    changed = (await server.call("PUT", f"/v1/knowledgebase-sources/{source['id']}", json=body))["data"]
    assert (changed["name"], changed["config"]["exclude"]) == ("Renamed", ["note-0.txt"])
    assert counts(await synced(server, source["id"])) == {"unchanged": 2, "deleted": 1}
    assert len(await search(server, base["id"], "hotel or note", filters={"team": "b"})) == 2
    assert await search(server, base["id"], "hotel or note", filters={"team": "a"}) == []
    refused = await server.call(
        "PUT",
        f"/v1/knowledgebase-sources/{source['id']}",
        400,
        json={**body, "provider": "git", "config": {"url": "https://example.com/a"}},
    )
    assert list(refused["error"]["details"]) == ["provider"]


async def test_one_sync_at_a_time_and_cancel(server: Running) -> None:
    async with site() as made:
        for number in range(8):
            made.page(f"/{number}", text=f"Page number {number}")
        made.page("/", *(f"/{number}" for number in range(8)))
        hold = asyncio.Event()
        made.answers["/4"].hold = hold
        base = await base_of(server)
        source = await create(server, base["id"], "website", {"url": made.url, "delay_seconds": 0, "sitemap": False})
        url = f"/v1/knowledgebase-sources/{source['id']}/sync"
        begun = [(await server.call("POST", url, 202))["data"]["id"] for _ in range(5)]
        assert len(set(begun)) == 1
        async with asyncio.timeout(15):
            while (await server.call("GET", url))["data"]["counts"]["added"] < 5:
                await asyncio.sleep(0.02)
        assert (await server.call("DELETE", url))["data"]["id"] == begun[0]
        stopped = await ended(server, source["id"])
        assert (stopped["status"], stopped["counts"]["added"]) == ("canceled", 5)
        assert (await server.call("DELETE", url))["data"]["status"] == "canceled", (
            "there is none to cancel: the last one, as it is"
        )
        hold.set()
        made.asked.clear()
        rest = await synced(server, source["id"])
        assert counts(rest) == {"added": 4, "unchanged": 5}
        assert made.visits().count(304) == 5


async def test_an_origin_in_trouble_deletes_nothing(server: Running, docs: Path) -> None:
    fill(docs, 30)
    base = await base_of(server)
    source = await create(server, base["id"], "directory", {"path": str(docs)})
    assert counts(await synced(server, source["id"])) == {"added": 30}
    docs.rename(docs.with_name("elsewhere"))
    gone = await synced(server, source["id"])
    assert (gone["status"], gone["error"]["code"], gone["counts"]["deleted"]) == ("failed", "origin_not_found", 0)
    docs.mkdir()  # An empty mount point.
    empty = await synced(server, source["id"])
    assert (empty["status"], empty["error"]["code"]) == ("failed", "deletions_withheld")
    docs.rmdir()
    docs.with_name("elsewhere").rename(docs)
    for number in range(20):
        (docs / f"note-{number}.txt").unlink()
    many = await synced(server, source["id"])
    assert (many["status"], many["error"]["code"]) == ("failed", "deletions_withheld")
    assert "20 of the source's 30 items" in many["error"]["message"]
    assert len(await items_of(server, base["id"], source["id"])) == 30
    sure = await synced(server, source["id"], confirm_deletions=True)
    assert (sure["status"], counts(sure)) == ("completed", {"unchanged": 10, "deleted": 20})
    assert len(await items_of(server, base["id"], source["id"])) == 10


async def test_a_page_that_cannot_be_fetched_keeps_its_item(server: Running) -> None:
    async with site() as made:
        made.page("/", "/travel", "/sick")
        made.page("/travel", text="A hotel may cost 140 euros.")
        made.page("/sick", text="Form HR-4711.")
        base = await base_of(server)
        source = await create(server, base["id"], "website", {"url": made.url, "delay_seconds": 0})
        await synced(server, source["id"])
        await settled(server, base["id"])
        made.answers["/travel"] = Answer(b"broken", 500)
        made.answers["/sick"] = Answer(b"gone", 410)
        second = await synced(server, source["id"])
        assert (second["status"], counts(second)) == (
            "completed",
            {"unchanged": 1, "skipped": 1, "failed": 1, "deleted": 1},
        )
        assert await search(server, base["id"], "hotel euros", mode="keyword")
        failures = await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/failures")
        assert failures["data"] == [
            {"origin": f"{made.url}/travel", "error": {"code": "origin_failed", "message": "127.0.0.1 answered 500."}}
        ]
        made.page("/travel", text="A hotel may cost 140 euros.")
        assert counts(await synced(server, source["id"])) == {"unchanged": 2, "skipped": 1}
        assert (await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/failures"))["data"] == []


async def test_a_failure_that_may_pass_is_tried_again(server: Running) -> None:
    async with site() as made:
        made.page("/", text="Hello")
        made.answers["/robots.txt"] = Answer(b"", 503)
        base = await base_of(server)
        source = await create(server, base["id"], "website", {"url": made.url, "delay_seconds": 0})
        await server.call("POST", f"/v1/knowledgebase-sources/{source['id']}/sync", 202)
        async with asyncio.timeout(15):
            while not (
                waiting := (await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/sync"))["data"]
            ).get("error"):
                await asyncio.sleep(0.02)
        assert (waiting["status"], waiting["error"]["code"]) == ("pending", "robots_unreachable")
        made.answers["/robots.txt"] = Answer(b"", 404)
        database = await asyncpg.connect(server.dsn)
        await database.execute(
            "UPDATE knowledge_source_syncs SET not_before = now() WHERE source_id = $1", source["id"]
        )
        await database.close()
        assert (await ended(server, source["id"]))["status"] == "completed"


async def test_settings_that_change_between_two_attempts_lose_nothing(server: Running) -> None:
    """What the first attempt settled is no excuse for not walking on from it under the new settings."""
    async with site() as made:
        made.page("/", "/a", *(f"/f{number}" for number in range(10)))
        made.page("/a", "/deep")
        made.page("/deep", text="Only /a leads here.")
        for number in range(10):
            made.page(f"/f{number}", text=f"Page number {number}.")
        base = await base_of(server)
        config = {"url": made.url, "delay_seconds": 0, "sitemap": False}
        source = await create(server, base["id"], "website", config)
        assert counts(await synced(server, source["id"])) == {"added": 13}
        working = dict(made.answers)
        for number in range(10):
            made.answers[f"/f{number}"] = Answer(b"", 500)
        await server.call("POST", f"/v1/knowledgebase-sources/{source['id']}/sync", 202)
        async with asyncio.timeout(15):
            while not (await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/sync"))["data"].get("error"):
                await asyncio.sleep(0.02)
        made.answers.update(working)
        body = {"name": "Docs", "provider": "website", "config": config, "metadata": {"team": "b"}}
        await server.call("PUT", f"/v1/knowledgebase-sources/{source['id']}", json=body)
        database = await asyncpg.connect(server.dsn)
        await database.execute(
            "UPDATE knowledge_source_syncs SET not_before = now() WHERE source_id = $1", source["id"]
        )
        await database.close()
        done = await ended(server, source["id"])
        assert (done["status"], done["counts"]["found"], done["counts"]["failed"], done["counts"]["deleted"]) == (
            "completed",
            13,
            0,
            0,
        ), done
        items = await items_of(server, base["id"], source["id"])
        assert [item["metadata"]["team"] for item in items.values()] == ["b"] * 13


async def test_deleting_a_source(server: Running, docs: Path) -> None:
    fill(docs)
    base = await base_of(server)
    kept, dropped = [await create(server, base["id"], "directory", {"path": str(docs)}) for _ in range(2)]
    for source in (kept, dropped):
        await synced(server, source["id"])
    await settled(server, base["id"])
    assert await server.call("DELETE", f"/v1/knowledgebase-sources/{kept['id']}?items=keep") == {"message": "deleted"}
    gone = await server.call("DELETE", f"/v1/knowledgebase-sources/{dropped['id']}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert (receipt["stores"]["knowledge_items"]["rows"], bool(receipt["verified_at"])) == (3, True)
    for source in (kept, dropped):
        await server.call("DELETE", f"/v1/knowledgebase-sources/{source['id']}", 404)
        await server.call("POST", f"/v1/knowledgebase-sources/{source['id']}/sync", 404)
    left = (await server.call("GET", f"/v1/knowledgebases/{base['id']}/items"))["data"]
    assert len(left) == 3
    assert not any("source_id" in item for item in left)
    assert len(await search(server, base["id"], "hotel or note")) == 3
    await server.call("DELETE", f"/v1/knowledgebase-sources/{uuid4()}?items=maybe", 400)


async def test_a_base_takes_its_sources_along(server: Running, docs: Path) -> None:
    fill(docs)
    base = await base_of(server)
    source = await create(server, base["id"], "directory", {"path": str(docs)}, schedule="1h")
    await ended(server, source["id"])
    await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
    await server.call("GET", f"/v1/knowledgebase-sources/{source['id']}", 404)
    database = await asyncpg.connect(server.dsn)
    try:
        assert await database.fetchval("SELECT count(*) FROM knowledge_sources WHERE id = $1", source["id"]) == 0
        for table in ("knowledge_source_syncs", "knowledge_source_entries", "knowledge_items"):
            assert await database.fetchval(f"SELECT count(*) FROM {table} WHERE source_id = $1", source["id"]) == 0, (
                table
            )
    finally:
        await database.close()


async def test_a_source_deleted_while_it_is_synced(server: Running) -> None:
    async with site() as made:
        made.page("/", *(f"/{number}" for number in range(6)))
        for number in range(6):
            made.page(f"/{number}", text=f"Page number {number}")
        hold = asyncio.Event()
        made.answers["/3"].hold = hold
        base = await base_of(server)
        source = await create(server, base["id"], "website", {"url": made.url, "delay_seconds": 0, "sitemap": False})
        await server.call("POST", f"/v1/knowledgebase-sources/{source['id']}/sync", 202)
        async with asyncio.timeout(15):
            while made.visits("/2") == []:
                await asyncio.sleep(0.02)
        await server.call("DELETE", f"/v1/knowledgebase-sources/{source['id']}")
        hold.set()
        assert (await server.call("GET", f"/v1/knowledgebases/{base['id']}/items"))["data"] == []
        database = await asyncpg.connect(server.dsn)
        try:
            assert (
                await database.fetchval("SELECT count(*) FROM knowledge_items WHERE knowledgebase_id = $1", base["id"])
                == 0
            )
            assert (
                await database.fetchval(
                    "SELECT count(*) FROM knowledge_source_syncs WHERE source_id = $1", source["id"]
                )
                == 0
            )
        finally:
            await database.close()


async def test_a_schedule_fires(dsn: str, tmp_path: Path) -> None:
    """The clock is held; only its turning on makes the next sync."""
    docs = tmp_path / "shared" / "docs"
    fill(docs)
    clock = FixedClock()
    async with serving(
        dsn, tmp_path / "data", ScriptedModel(), clock=clock, source_directories=(tmp_path / "shared",)
    ) as running:
        base = await base_of(running)
        config = {"path": str(docs)}
        daily = await create(running, base["id"], "directory", config, schedule="30 3 * * *", timezone="Europe/Berlin")
        assert daily["next_sync_at"] == "2026-06-11T01:30:00.000Z"
        often = await create(running, base["id"], "directory", config, schedule="6h")
        first = await ended(running, often["id"])
        assert (first["trigger"], first["status"], counts(first)) == ("schedule", "completed", {"added": 3})
        assert (await running.call("GET", f"/v1/knowledgebase-sources/{often['id']}"))["data"][
            "next_sync_at"
        ] == "2026-06-10T15:11:02.123Z"
        await running.call("GET", f"/v1/knowledgebase-sources/{daily['id']}/sync", 404)
        clock.moment += timedelta(hours=17)
        assert (await ended(running, daily["id"]))["trigger"] == "schedule"
        async with asyncio.timeout(10):
            while (await running.call("GET", f"/v1/knowledgebase-sources/{often['id']}/syncs"))["pagination"][
                "total_count"
            ] < 2:
                await asyncio.sleep(0.03)
        assert counts(await ended(running, often["id"])) == {"unchanged": 3}
        shown = (await running.call("GET", f"/v1/knowledgebase-sources/{daily['id']}"))["data"]
        assert shown["next_sync_at"] == "2026-06-12T01:30:00.000Z"
        body = {"name": "Docs", "provider": "directory", "config": config}
        paused = (await running.call("PUT", f"/v1/knowledgebase-sources/{daily['id']}", json=body))["data"]
        assert "next_sync_at" not in paused


async def test_concurrent_syncs_changes_and_deletion_do_not_deadlock(server: Running, docs: Path) -> None:
    """Syncs asked for, changed settings and at last the base's deletion, while addresses are settled one after the
    other."""
    fill(docs, 150)
    base = await base_of(server)
    source = await create(server, base["id"], "directory", {"path": str(docs)})
    url, body = (
        f"/v1/knowledgebase-sources/{source['id']}",
        {"name": "Docs", "provider": "directory", "config": {"path": str(docs)}},
    )
    await server.call("POST", f"{url}/sync", 202)

    async def hammer() -> None:
        for _ in range(25):
            await server.call("POST", f"{url}/sync", 202)
            await server.call("PUT", url, json=body)

    await asyncio.gather(hammer(), hammer(), hammer())
    await server.call("POST", f"{url}/sync", 202)
    await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
    await server.call("GET", url, 404)


async def test_two_nodes_make_one_sync(dsn: str, tmp_path: Path) -> None:
    """Asked through both at once, and by a schedule that both watch."""
    docs = tmp_path / "shared" / "docs"
    fill(docs, 20)
    clock, options = FixedClock(), {"source_directories": (tmp_path / "shared",)}
    data = tmp_path / "data"
    async with (
        serving(dsn, data, ScriptedModel(), clock=clock, **options) as one,
        serving(dsn, data, ScriptedModel(), clock=clock, **options) as two,
    ):
        base = await base_of(one)
        source = await create(one, base["id"], "directory", {"path": str(docs)}, schedule="0 * * * *")
        url = f"/v1/knowledgebase-sources/{source['id']}/sync"
        begun = await asyncio.gather(*(node.call("POST", url, 202) for node in (one, two) * 5))
        first = await ended(two, source["id"])
        assert counts(first) == {"added": 20}
        assert {answer["data"]["id"] for answer in begun} >= {first["id"]}
        history = f"/v1/knowledgebase-sources/{source['id']}/syncs"
        before = (await one.call("GET", history))["pagination"]["total_count"]
        clock.moment += timedelta(hours=1)
        async with asyncio.timeout(15):
            while (await one.call("GET", history))["data"][0]["trigger"] != "schedule":
                await asyncio.sleep(0.03)
        assert counts(await ended(one, source["id"])) == {"unchanged": 20}
        assert (await one.call("GET", history))["pagination"]["total_count"] == before + 1
        assert len(await items_of(two, base["id"], source["id"])) == 20


async def test_secrets_are_write_only(server: Running) -> None:
    secrets = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "v3ry-s3cret"}
    base = await base_of(server)
    config = {"bucket": "docs", "endpoint": "https://s3.example.com"}
    source = await create(server, base["id"], "s3", config, secrets=secrets)
    assert source["secret_names"] == ["access_key_id", "secret_access_key"]
    body = {"name": "Docs", "provider": "s3", "config": config}
    again = (await server.call("PUT", f"/v1/knowledgebase-sources/{source['id']}", json=body))["data"]
    assert again["secret_names"] == source["secret_names"], "left out, they stay"
    none = (await server.call("PUT", f"/v1/knowledgebase-sources/{source['id']}", json={**body, "secrets": {}}))["data"]
    assert none["secret_names"] == []
    await server.call("PUT", f"/v1/knowledgebase-sources/{source['id']}", json={**body, "secrets": secrets})
    assert "v3ry-s3cret" not in json.dumps(
        (await server.call("GET", f"/v1/knowledgebases/{base['id']}/sources"))["data"]
    )
    database = await asyncpg.connect(server.dsn)
    try:
        row = await database.fetchrow("SELECT * FROM knowledge_sources WHERE id = $1", source["id"])
        assert row is not None
        assert not any(
            b"v3ry-s3cret" in (value if isinstance(value, bytes) else str(value).encode()) for value in row.values()
        )
    finally:
        await database.close()


WEB = {"url": "https://docs.example.com/"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"provider": "ftp"}, "provider"),
        ({"name": " "}, "name"),
        ({"config": {}}, "config.url"),
        ({"config": {"url": "ftp://example.com"}}, "config.url"),
        ({"config": {"url": "https://u:p@example.com"}}, "config.url"),
        ({"config": {"url": "https://[::bad"}}, "config.url"),
        ({"config": {**WEB, "exclude": ["ok", " "]}}, "config.exclude[1]"),
        ({"config": {**WEB, "include": ["a**b"]}}, "config.include[0]"),
        ({"config": {**WEB, "exlude": []}}, "config.exlude"),
        ({"config": {**WEB, "hosts": ["a b"]}}, "config.hosts[0]"),
        ({"config": {**WEB, "depth_max": -1}}, "config.depth_max"),
        ({"config": {**WEB, "pages_max": 0}}, "config.pages_max"),
        ({"config": {"url": "http://10.0.0.1/"}}, "config.url"),
        ({"config": {"url": "http://[::1]/"}}, "config.url"),
        ({"config": {"url": "https://example.com/\u0000"}}, "config.url"),
        ({"secrets": {"password": "x"}}, "secrets.password"),
        ({"schedule": "often"}, "schedule"),
        ({"schedule": "* * * *"}, "schedule"),
        ({"schedule": "0 0 31 2 *"}, "schedule"),
        ({"schedule": "0m"}, "schedule"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"metadata": {"x": "\u0000"}}, "metadata.x"),
        ({"metadata": []}, "metadata"),
        ({"provider": "directory", "config": {"path": "/etc"}}, "config.path"),
        ({"provider": "directory", "config": {"path": "docs"}}, "config.path"),
        ({"provider": "git", "config": {"url": "ssh://git@example.com/a.git"}}, "config.url"),
        ({"provider": "git", "config": {"url": "file:///etc"}}, "config.url"),
        ({"provider": "git", "config": {"url": "https://example.com/a.git", "branch": "-x"}}, "config.branch"),
        ({"provider": "s3", "config": {"bucket": "../x"}}, "config.bucket"),
        ({"provider": "s3", "config": {"bucket": "docs", "endpoint": "http://169.254.169.254"}}, "config.endpoint"),
        (
            {"provider": "s3", "config": {"bucket": "docs"}, "secrets": {"access_key_id": "x"}},
            "secrets.secret_access_key",
        ),
    ],
)
async def test_sources_that_cannot_be(shared_server: Running, fields: dict[str, Any], named: str) -> None:
    base = await base_of(shared_server)
    body = {"name": "Docs", "provider": "website", "config": WEB, **fields}
    refused = await shared_server.call("POST", f"/v1/knowledgebases/{base['id']}/sources", 400, json=body)
    assert list(refused["error"]["details"]) == [named], refused
    assert (await shared_server.call("GET", f"/v1/knowledgebases/{base['id']}/sources"))["pagination"][
        "total_count"
    ] == 0


async def test_bodies_that_are_none(shared_server: Running) -> None:
    base = await base_of(shared_server)
    for content in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"provider": 1}',
        b'{"provider": "git", "config": "x", "name": "n"}',
    ):
        answer = await shared_server.client.post(
            f"/v1/knowledgebases/{base['id']}/sources", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


async def test_a_retried_creation_makes_one(shared_server: Running) -> None:
    base = await base_of(shared_server)
    body, key = {"name": "Docs", "provider": "website", "config": WEB}, {"Idempotency-Key": f"source-{base['id']}"}
    url = f"/v1/knowledgebases/{base['id']}/sources"
    first, second = [(await shared_server.call("POST", url, 201, json=body, headers=key))["data"] for _ in range(2)]
    assert first["id"] == second["id"]
    await shared_server.call("POST", url, 409, json={**body, "name": "Other"}, headers=key)
    assert (await shared_server.call("GET", url))["pagination"]["total_count"] == 1


async def test_sources_of_other_tenants_are_not_found(shared_server: Running) -> None:
    base = await base_of(shared_server)
    source = await create(shared_server, base["id"], "website", WEB)
    project = (await shared_server.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    stranger = (await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "s", "project_id": project}))[
        "data"
    ]["key"]
    reader = (
        await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "r", "permissions": ["knowledge:read"]})
    )["data"]["key"]
    document = await shared_server.document()
    ids = {"knowledgebase_id": base["id"], "source_id": source["id"]}
    tried = 0
    for path, methods in document["paths"].items():
        if "{source_id}" not in path and not path.endswith("/sources"):
            continue
        for method in methods:
            sent = {} if path.endswith("/sync") else {"name": "n", "provider": "website", "config": WEB}
            body = {"json": sent} if method in ("post", "put") else {}
            for unknown, expected in ((stranger, 404), (reader, 403 if method != "get" else None)):
                if expected is None:
                    continue
                answer = await shared_server.client.request(
                    method, path.format_map(ids), headers={"Authorization": f"Bearer {unknown}"}, **body
                )
                assert answer.status_code == expected, f"{method} {path}: {answer.text}"
                tried += 1
    assert tried >= 14
    for bad in ("1", "%00", str(uuid4())):
        assert (await shared_server.client.get(f"/v1/knowledgebase-sources/{bad}")).status_code in (400, 404)
    assert (await shared_server.call("GET", f"/v1/knowledgebase-sources/{source['id']}"))["data"]["name"] == "Docs"
    await shared_server.call("GET", f"/v1/knowledgebase-sources/{source['id']}/sync", 404)


async def test_an_origin_that_is_refused(server: Running, docs: Path) -> None:
    """What was allowed when the source was made may not be any more; a sync says so, and is not tried again."""
    base = await base_of(server)
    docs.mkdir()
    source = await create(server, base["id"], "directory", {"path": str(docs)})
    docs.rmdir()
    docs.symlink_to("/etc")
    refused = await synced(server, source["id"])
    assert (refused["status"], refused["error"]["code"]) == ("failed", "directory_refused")


def test_the_double_of_a_site_counts_its_requests() -> None:
    made = Site()
    made.asked = [("/robots.txt", 404, {}), ("/a", 200, {}), ("/b", 304, {})]
    assert (made.visits(), made.visits("/b")) == ([200, 304], [304])


async def test_the_command_line_makes_follows_shows_and_deletes_sources(server: Running, docs: Path) -> None:
    fill(docs, 3)
    kb = Terminal(server, "kb")
    base_id = (await kb("create", "By command")).strip()
    said = await kb(
        *(
            "sources",
            "create",
            "By command",
            "directory",
            str(docs),
            "--name",
            "Docs",
            "--exclude",
            "note-1.txt",
            "--metadata",
            "team=sales",
        ),
        *("--config", "hidden=true", "--wait"),
    )
    source_id = said.splitlines()[0]
    assert "Docs: completed: added 2" in said
    shown = (await server.call("GET", f"/v1/knowledgebase-sources/{source_id}"))["data"]
    assert shown["config"] == {"path": str(docs), "include": [], "exclude": ["note-1.txt"], "hidden": True}
    assert shown["metadata"] == {"team": "sales"}
    listed = await server.call("GET", f"/v1/knowledgebases/{base_id}/items?source_id={source_id}")
    assert [item["status"] for item in listed["data"]] == ["processed"] * 2, "--wait waits for these as well"

    (docs / "broken.pdf").write_text("no pdf")
    (docs / "note-0.txt").unlink()
    assert "Docs: completed: added 1, unchanged 1, deleted 1" in await kb("sources", "sync", "By command")
    assert "the sync is under way" in await kb("sources", "sync", base_id, "Docs", "--no-wait")
    await ended(server, source_id)
    assert "completed" in await kb("sources", "cancel", "By command", source_id), "there is nothing to end"
    listing = await kb("sources", "list", "By command")
    assert [listing.count(word) for word in (source_id, "directory", "completed")] == [1, 1, 1]
    said = await kb("sources", "show", "By command", "Docs")
    assert "config.exclude" in said
    assert said.count("manual") == 3
    assert json.loads(await kb("sources", "show", "By command", "Docs", "--json"))["id"] == source_id

    receipt = json.loads(await kb("sources", "delete", "By command", "Docs", "--yes"))
    assert receipt["stores"]["knowledge_items"]["rows"] == 2
    assert "has no sources" in await kb("sources", "sync", "By command", status=1)


async def test_the_command_line_says_why_a_sync_failed_and_what_was_not_read(server: Running, docs: Path) -> None:
    fill(docs, 12)
    kb = Terminal(server, "kb")
    await kb("create", "In trouble")
    await kb("sources", "create", "In trouble", "directory", str(docs), "--name", "Docs", "--wait")
    for path in docs.glob("note-*.txt"):
        path.unlink()
    said = await kb("sources", "sync", "In trouble", "Docs", status=1)
    assert "Docs: failed" in said
    assert "With the command: --confirm-deletions." in said
    assert "deleted 11" in await kb("sources", "sync", "In trouble", "Docs", "--confirm-deletions")
    async with site() as made:
        made.page("/", "/there", "/gone")
        made.page("/there", text="It is there.")
        made.answers["/gone"] = Answer(b"not for you", 403)
        created = await kb(
            "sources",
            "create",
            "In trouble",
            "website",
            made.url + "/",
            "--name",
            "Site",
            "--config",
            "delay_seconds=0",
            "--wait",
        )
        assert "Site: completed: added 2, failed 1" in created
        assert f"{made.url}/gone: " in created
        assert f"{made.url}/gone: " in await kb("sources", "show", "In trouble", "Site")
    assert await kb("sources", "delete", "In trouble", "Site", "--keep-items", "--yes") == "deleted\n"
    assert "There is no source named Site" in await kb("sources", "show", "In trouble", "Site", status=1)
    assert "config.depth_max" in await kb(
        "sources", "create", "In trouble", "website", "https://a.example/", "--config", "depth_max=99", status=1
    )
    assert "depth_max is no field=value" in await kb(
        "sources", "create", "In trouble", "website", "https://a.example/", "--config", "depth_max", status=1
    )


async def test_the_command_line_takes_secrets_from_the_environment_and_prefixes_from_buckets(server: Running) -> None:
    kb = Terminal(server, "kb")
    base_id = (await kb("create", "Buckets")).strip()
    made = (
        "sources",
        "create",
        base_id,
        "s3",
        "reports/2026/",
        "--secret",
        "access_key_id",
        "--secret",
        "secret_access_key",
        "--config",
        "region=eu-central-1",
    )
    await kb(*made, STOA_SECRET_ACCESS_KEY_ID="AKIA", STOA_SECRET_SECRET_ACCESS_KEY="hidden")
    [source] = (await server.call("GET", f"/v1/knowledgebases/{base_id}/sources"))["data"]
    assert source["name"] == "reports/2026/"
    assert (source["config"]["bucket"], source["config"]["prefix"], source["config"]["region"]) == (
        "reports",
        "2026/",
        "eu-central-1",
    )
    assert sorted(source["secret_names"]) == ["access_key_id", "secret_access_key"]
    assert "access_key_id, secret_access_key" in await kb("sources", "show", base_id, "reports/2026/")
    for command in ("create", "list", "show", "sync", "cancel", "delete"):
        assert "Usage: " in await kb("sources", command, "--help")

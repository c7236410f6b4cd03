"""What goes wrong while files go in: embedders that fail, workers that die or fall silent, content that nobody refers
to, two nodes at once."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from stoa.settings import Embeddings
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.knowledge import SICK, TRAVEL, base_of, search, settled, sources, upload
from tests.support.listening import Listener


class Endpoint:
    """An embeddings endpoint of three dimensions: vectors from the text's hash; it fails with `status` when told to,
    and counts texts."""

    def __init__(self) -> None:
        self.status = 200
        self.texts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        asked = json.loads(await reader.readexactly(length))["input"]
        await self.gate.wait()
        vectors = [[1 + byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:3]] for text in asked]
        if self.status == 200:
            self.texts += asked
        answer = json.dumps(
            {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}
        ).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (self.status, len(answer), answer)
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[tuple[Endpoint, Embeddings]]:
    made = Endpoint()
    async with Listener(made.serve) as listener:
        yield made, Embeddings(base_url=f"http://127.0.0.1:{listener.port}/v1", model="three")


async def test_an_embedder_failure_is_retried_or_reported(
    dsn: str, tmp_path: Path, endpoint: tuple[Endpoint, Embeddings]
) -> None:
    service, embeddings = endpoint
    model = ScriptedModel([calling(("search_knowledge", '{"query": "hotel costs"}')), answer("ok")])
    async with serving(dsn, tmp_path, model, embeddings=embeddings) as server:
        base = await base_of(server)
        assert base["embedder"] == {"provider": "server", "model": "three", "dimensions": 3}
        service.status = 401
        [item] = await upload(server, base["id"], ("travel.md", TRAVEL))
        [failed] = await settled(server, base["id"])
        assert (failed["status"], failed["error"]["code"], failed["searchable"]) == (
            "failed",
            "embedder_unauthorized",
            False,
        )
        service.status = 503
        await server.call("POST", f"/v1/knowledgebases/{base['id']}/reprocess")
        async with asyncio.timeout(20):
            while (waiting := (await server.call("GET", f"/v1/knowledgebase-items/{item['id']}"))["data"]).get(
                "error", {}
            ).get("code") != "embedder_overloaded":
                await asyncio.sleep(0.05)
        assert waiting["status"] == "pending", "it may pass: the item waits for its next attempt"
        refused = await server.client.post(f"/kb/{base['id']}/v1/documents/search", json={"query": "hotel"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert await search(server, base["id"], "hotel", mode="keyword") == []
        service.status = 200
        [done] = await settled(server, base["id"])
        service.status = 503
        shown = await server.conversation(agent={"knowledge_bases": [base["id"]]})
        run = await server.ask(shown, "hotel")
        found = [
            one["data"]["result"]
            for one in await server.events(run["id"])
            if one["type"] == "agent.tool_call.completed"
        ]
        assert "travel.md" in found[0], "an agent searches by words while the embedder is away"
        service.status = 200
        assert (done["status"], "error" in done) == ("processed", False)
        assert sources(await search(server, base["id"], "hotel")) == {"travel.md"}


async def test_a_changed_embedder_is_reported(dsn: str, tmp_path: Path, endpoint: tuple[Endpoint, Embeddings]) -> None:
    """Its vectors would not compare: searches by meaning and new files are refused with the way out, and a re-index is
    that."""
    _, embeddings = endpoint
    async with serving(dsn, tmp_path, ScriptedModel(), embeddings=embeddings) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("travel.md", TRAVEL))
        await settled(server, base["id"])
    moved = Embeddings(base_url=embeddings.base_url.replace("127.0.0.1", "localhost"), model="three")
    async with serving(dsn, tmp_path, ScriptedModel(), embeddings=moved) as server:
        await upload(server, base["id"], ("sick.md", SICK))
        codes = {item["name"]: item.get("error", {}).get("code") for item in await settled(server, base["id"])}
        assert codes == {"travel.md": None, "sick.md": "embedder_changed"}
        refused = await server.client.post(f"/kb/{base['id']}/v1/documents/search", json={"query": "hotel"})
        assert refused.status_code == 503
        assert "reindex" in refused.json()["error"]["message"]
        assert sources(await search(server, base["id"], "hotel", mode="keyword")) == {"travel.md"}
        await server.call("POST", f"/v1/knowledgebases/{base['id']}/reindex", 202, json={})
        async with asyncio.timeout(20):
            while "reindex" in (await server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"]:
                await asyncio.sleep(0.05)
        await server.call("POST", f"/v1/knowledgebases/{base['id']}/reprocess")
        await settled(server, base["id"])
        assert sources(await search(server, base["id"], "hotel doctor")) == {"travel.md", "sick.md"}


async def test_what_is_known_is_not_embedded_again(
    dsn: str, tmp_path: Path, endpoint: tuple[Endpoint, Embeddings]
) -> None:
    service, embeddings = endpoint
    async with serving(dsn, tmp_path, ScriptedModel(), embeddings=embeddings) as server:
        base, other = await base_of(server), await base_of(server, name="Other")
        [item] = await upload(server, base["id"], ("travel.md", TRAVEL))
        await settled(server, base["id"])
        first = len(service.texts)
        assert first >= 1
        await upload(server, base["id"], ("same.md", TRAVEL))
        await upload(server, other["id"], ("again.md", TRAVEL))
        await server.call("POST", f"/v1/knowledgebase-items/{item['id']}/reprocess")
        await settled(server, base["id"])
        await settled(server, other["id"])
        assert len(service.texts) == first, "the same content, anywhere in the project, costs nothing"
        await upload(
            server,
            base["id"],
            ("travel.md", TRAVEL + b"\n# Bicycles\n\nA bicycle is lent by the office.\n"),
            ids=json.dumps([item["id"]]),
        )
        await settled(server, base["id"])
        assert len(service.texts) == first + 1, "one new section, one new chunk"


async def test_a_small_edit_embeds_little(dsn: str, tmp_path: Path, endpoint: tuple[Endpoint, Embeddings]) -> None:
    """One hundredth of a long document is new: what is embedded for it is at most three hundredths of its chunks."""
    service, embeddings = endpoint
    sections = [
        f"## Rule {number}\n\n"
        + " ".join(
            f"Clause {number}.{part} says {part * number} things about matter {number % 7}." for part in range(30)
        )
        for number in range(200)
    ]
    async with serving(dsn, tmp_path, ScriptedModel(), embeddings=embeddings) as server:
        base = await base_of(server)
        [item] = await upload(server, base["id"], ("rules.md", "\n\n".join(sections).encode()))
        [done] = await settled(server, base["id"])
        chunks, first = done["progress"]["chunks"], len(service.texts)
        assert chunks > 300
        edited = [
            *sections[:60],
            *(section.replace("says", "does not say") for section in sections[60:62]),
            *sections[62:],
        ]
        await upload(server, base["id"], ("rules.md", "\n\n".join(edited).encode()), ids=json.dumps([item["id"]]))
        await settled(server, base["id"])
        assert 0 < len(service.texts) - first <= 0.03 * chunks


async def test_what_dead_or_silent_workers_left_is_taken_up(running: Running) -> None:
    base = await base_of(running)
    database = await asyncpg.connect(running.dsn)
    try:
        node = await database.fetchval("SELECT id FROM nodes")
        for holder, deadline in ((uuid4(), "1 hour"), (node, "1 hour"), (uuid4(), "-1 second")):
            [item] = await upload(running, base["id"], ("travel.md", TRAVEL))
            await settled(running, base["id"])
            # As if a worker had it: of a node that is not there, of this very node that has lost sight of it, of one
            # that fell silent.
            await database.execute(
                f"UPDATE knowledge_items SET status = 'processing', attempt = 1, node_id = $1, deadline = now() + "
                f"interval '{deadline}' WHERE id = $2",
                holder,
                item["id"],
            )
            assert all(one["status"] == "processed" for one in await settled(running, base["id"]))
        # One that lost its worker before rests, and is taken up when it has.
        await database.execute(
            "UPDATE knowledge_items SET status = 'processing', attempt = 3, node_id = $1, deadline = now() + "
            "interval '1 hour' WHERE id = $2",
            uuid4(),
            item["id"],
        )
        resting = (
            "SELECT extract(epoch FROM not_before - now())::float8 FROM knowledge_items "
            "WHERE id = $1 AND status = 'pending'"
        )
        async with asyncio.timeout(10):
            while (rest := await database.fetchval(resting, item["id"])) is None:
                await asyncio.sleep(0.05)
        assert 4 < rest <= 8
        await database.execute("UPDATE knowledge_items SET not_before = now() WHERE id = $1", item["id"])
        assert all(one["status"] == "processed" for one in await settled(running, base["id"]))
        await database.execute(
            "UPDATE knowledge_items SET status = 'pending', attempt = 6, node_id = NULL WHERE id = $1", item["id"]
        )
        await running.call("POST", f"/v1/knowledgebases/{base['id']}/reprocess")  # wakes the workers
        given_up = [one for one in await settled(running, base["id"]) if one["status"] == "failed"]
        assert [one["error"]["code"] for one in given_up] == ["attempts_exhausted"]
    finally:
        await database.close()


async def test_a_superseded_worker_writes_nothing(
    dsn: str, tmp_path: Path, endpoint: tuple[Endpoint, Embeddings]
) -> None:
    """Its item is replaced, then deleted, while it waits for the embedder: what it brings back is not taken."""
    service, embeddings = endpoint
    async with serving(dsn, tmp_path, ScriptedModel(), embeddings=embeddings) as server:
        base = await base_of(server)
        service.gate.clear()
        [item] = await upload(server, base["id"], ("travel.md", TRAVEL))
        async with asyncio.timeout(10):
            while (await server.call("GET", f"/v1/knowledgebase-items/{item['id']}"))["data"]["status"] != "processing":
                await asyncio.sleep(0.02)
        await upload(server, base["id"], ("sick.md", SICK), ids=json.dumps([item["id"]]))
        await server.call("DELETE", f"/v1/knowledgebase-items/{item['id']}")
        [kept] = await upload(server, base["id"], ("kept.md", b"Kept."))
        service.gate.set()
        assert [one["id"] for one in await settled(server, base["id"])] == [kept["id"]]
        assert sources(await search(server, base["id"], "hotel doctor kept", mode="keyword")) == {"kept.md"}
        assert len([path for path in (server.data_dir / "knowledge").glob("*/*/??/*") if path.is_file()]) == 1


async def test_unreferenced_content_is_swept(dsn: str, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("travel.md", TRAVEL))
        await settled(server, base["id"])
    [kept] = [path for path in (tmp_path / "knowledge").glob("*/*/??/*") if path.is_file()]
    digest = hashlib.sha256(b"orphan").hexdigest()
    orphan = kept.parents[1] / digest[:2] / digest
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"orphan")
    async with serving(dsn, tmp_path, ScriptedModel()) as server, asyncio.timeout(10):
        while orphan.exists():
            await asyncio.sleep(0.02)
        assert kept.exists()
        assert sources(await search(server, base["id"], "hotel")) == {"travel.md"}


async def test_two_nodes_share_the_work_and_agree(dsn: str, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as one, serving(dsn, tmp_path, ScriptedModel()) as two:
        base = await base_of(one)
        items = await upload(
            one,
            base["id"],
            *((f"{number}.txt", f"Number {number} is number{number}x.".encode()) for number in range(12)),
        )
        await upload(two, base["id"], ("travel.md", TRAVEL))
        done = await settled(two, base["id"])
        assert {item["status"] for item in done} == {"processed"}
        assert len(done) == 13
        for number in (3, 7):
            assert len(await search(two, base["id"], f"number{number}x", mode="keyword")) == 1
            await one.call("DELETE", f"/v1/knowledgebase-items/{items[number]['id']}")
            assert await search(two, base["id"], f"number{number}x", mode="keyword") == []
        answers = await asyncio.gather(
            *(server.client.delete(f"/v1/knowledgebase-items/{items[0]['id']}") for server in (one, two))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 404], (
            "two at once: one deletes, the other finds nothing"
        )


async def test_many_replacements_of_the_same_items_take_turns(running: Running) -> None:
    """In opposite orders, with deletions and retries between them: each is answered, none waits for another for
    ever."""
    base = await base_of(running)
    items = await upload(running, base["id"], *((f"{number}.txt", f"Number {number}.".encode()) for number in range(6)))
    ids = [item["id"] for item in items]
    path = f"/v1/knowledgebases/{base['id']}"

    async def replace(turn: int) -> int:
        order = ids if turn % 2 else ids[::-1]
        files = [
            ("files", (f"{turn}-{number}.txt", f"Turn {turn}, number {number}.".encode()))
            for number in range(len(order))
        ]
        return (await running.client.post(f"{path}/upload", files=files, data={"ids": json.dumps(order)})).status_code

    async def again() -> int:
        return (await running.client.post(f"{path}/reprocess")).status_code

    answers = await asyncio.gather(*(replace(turn) for turn in range(8)), *(again() for _ in range(4)))
    assert set(answers) <= {200, 201}
    done = await settled(running, base["id"])
    assert {item["status"] for item in done} == {"processed"}
    assert len({item["name"].partition("-")[0] for item in done}) == 1, "the last upload won as a whole"
    assert len([path for path in (running.data_dir / "knowledge").glob("*/*/??/*") if path.is_file()]) == len(ids)

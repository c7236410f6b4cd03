"""Knowledge bases over HTTP, on the api host and on their own: uploads become answers, replacements switch, deletions
prove themselves."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

from stoa.gateway import Capabilities, DocumentPart
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.knowledge import HANDBOOK, SICK, TRAVEL, base_of, search, settled, sources, upload


async def test_a_file_becomes_answers(shared_server: Running) -> None:
    base = await base_of(shared_server)
    assert base["hostname"] == f"{base['id']}.kb.localhost"
    assert base["url"] == f"{shared_server.url}/kb/{base['id']}"
    assert base["embedder"] == {"provider": "local", "model": "all-MiniLM-L6-v2", "dimensions": 384}
    items = await upload(shared_server, base["id"], ("handbook.pdf", HANDBOOK.read_bytes()), ("travel.md", TRAVEL))
    assert [item["status"] for item in items] == ["pending", "pending"]
    assert items[0]["metadata"] == {
        "source": "handbook.pdf",
        "file_id": items[0]["id"],
        "dynamiq_item_id": items[0]["id"],
    }
    done = await settled(shared_server, base["id"])
    assert {item["status"] for item in done} == {"processed"}
    assert all(item["searchable"] and item["progress"]["chunks"] > 0 for item in done)
    for mode in ("semantic", "keyword", "hybrid"):
        hits = await search(shared_server, base["id"], "how much may a hotel cost", mode=mode)
        assert hits[0]["metadata"]["source"] in ("travel.md", "handbook.pdf")
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        assert all(0 <= hit["score"] <= 1 for hit in hits)
    paged = await search(shared_server, base["id"], "handbook", mode="keyword")
    assert any(hit["metadata"].get("page") for hit in paged if hit["metadata"]["source"] == "handbook.pdf")
    book = next(hit for hit in paged if hit["metadata"]["source"] == "handbook.pdf")
    chunks = await shared_server.call("GET", f"/v1/knowledgebase-items/{items[0]['id']}/chunks?page_size=500")
    assert [one["position"] for one in chunks["data"]] == list(range(chunks["pagination"]["total_count"]))
    (same,) = [one for one in chunks["data"] if one["id"] == book["id"]]
    assert (same["content"], same.get("page")) == (book["content"], book["metadata"].get("page"))
    second = await shared_server.call("GET", f"/v1/knowledgebase-items/{items[0]['id']}/chunks?page=2&page_size=1")
    assert second["data"] == chunks["data"][1:2]
    shown = (await shared_server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"]
    assert (shown["item_count"], shown["chunk_count"]) == (2, sum(item["progress"]["chunks"] for item in done))


async def test_its_own_hostname(shared_server: Running) -> None:
    base = await base_of(shared_server)
    host = {"Host": f"{base['hostname']}:8080"}
    put = await shared_server.client.post(
        "/",
        headers=host,
        files=[("files", ("sick.md", SICK))],
        data={"input": json.dumps({"metadata": [{"team": "hr"}]})},
    )
    assert put.status_code == 201, put.text
    await settled(shared_server, base["id"])
    found = await shared_server.client.post(
        "/v1/documents/search", headers=host, json={"query": "HR-4711", "mode": "keyword"}
    )
    assert found.json()["data"][0]["metadata"]["team"] == "hr"
    listed = (await shared_server.client.get("/v1/items", headers=host)).json()
    assert [item["name"] for item in listed["data"]] == ["sick.md"]
    item_id = listed["data"][0]["id"]
    assert (await shared_server.client.get(f"/v1/items/{item_id}", headers=host)).json()["data"][
        "status"
    ] == "processed"
    assert (await shared_server.client.post(f"/v1/items/{item_id}/reprocess", headers=host)).json()["data"][
        "status"
    ] == "pending"
    await settled(shared_server, base["id"])
    store = await shared_server.client.post(
        f"/v1/vector_stores/{base['id']}/search", headers=host, json={"query": "doctor's note", "max_num_results": 1}
    )
    assert store.json()["data"][0]["filename"] == "sick.md"
    assert store.json()["data"][0]["file_id"] == item_id
    assert (await shared_server.client.get("/v1/conversations", headers=host)).status_code == 404, (
        "another host's routes are not here"
    )
    gone = await shared_server.client.delete(f"/v1/items/{item_id}", headers=host)
    assert gone.json()["message"] == "deleted"
    assert (await shared_server.client.post("/v1/documents/search", headers=host, json={"query": "ill"})).json()[
        "data"
    ] == []


async def test_filters_users_and_metadata(shared_server: Running) -> None:
    base = await base_of(shared_server)
    metadata = [{"team": "sales", "year": 2024, "acl": {"users": ["ada"]}}, {"team": "hr", "year": 2026}]
    items = await upload(
        shared_server, base["id"], ("travel.md", TRAVEL), ("sick.md", SICK), input=json.dumps({"metadata": metadata})
    )
    await settled(shared_server, base["id"])
    url = f"/v1/knowledgebases/{base['id']}/vector-search"

    async def found(**fields: Any) -> set[str]:
        return sources(
            (await shared_server.call("POST", url, json={"query": "what is paid and when", **fields}))["data"]
        )

    assert await found(filters={"team": "hr"}) == {"sick.md"}
    assert await found(filters={"field": "metadata.year", "operator": "<", "value": 2025}) == {"travel.md"}
    both = {
        "operator": "OR",
        "conditions": [{"team": ["hr", "it"]}, {"field": "year", "operator": "in", "value": [2024]}],
    }
    assert await found(filters=both) == {"travel.md", "sick.md"}
    assert await found(filters={"operator": "NOT", "conditions": [{"team": "hr"}]}) == {"travel.md"}
    assert await found(user="ada") == {"travel.md", "sick.md"}
    assert await found(user="eve") == {"sick.md"}
    assert await found(groups=["sales"]) == {"sick.md"}, "groups alone restrict too"
    assert await found(groups=[]) == {"sick.md"}
    for path in (url, f"/kb/{base['id']}/v1/documents/search", f"/v1/vector_stores/{base['id']}/search"):
        for misspelt in ({"filter": {"team": "hr"}}, {"user_id": "eve"}, {"group": ["hr"]}):
            refused = await shared_server.call("POST", path, 400, json={"query": "x", **misspelt})
            assert refused["error"]["details"].keys() == misspelt.keys()
    refused = await shared_server.call(
        "POST", url, 400, json={"query": "x", "filters": {"field": "a", "operator": "~", "value": 1}}
    )
    assert "filters.operator" in refused["error"]["details"]
    await shared_server.call("PATCH", f"/v1/knowledgebase-items/{items[1]['id']}", json={"metadata": {"team": "legal"}})
    assert await found(filters={"team": "legal"}) == {"sick.md"}
    assert await found(filters={"team": "hr"}) == set()


async def test_a_replacement_answers_only_once_it_is_ready(shared_server: Running) -> None:
    base = await base_of(shared_server)
    [item] = await upload(shared_server, base["id"], ("travel.md", TRAVEL))
    await settled(shared_server, base["id"])
    [replaced] = await upload(
        shared_server, base["id"], ("travel-2.md", TRAVEL.replace(b"140", b"999")), ids=json.dumps([item["id"]])
    )
    assert (replaced["id"], replaced["status"], replaced["searchable"]) == (item["id"], "pending", True)
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while True:
            hits = await search(shared_server, base["id"], "hotel euros a night", mode="keyword")
            texts = " ".join(hit["content"] for hit in hits)
            assert ("140" in texts) != ("999" in texts), "never both versions, never none"
            seen.add("new" if "999" in texts else "old")
            if "new" in seen:
                break
    assert await settled(shared_server, base["id"])
    assert sources(await search(shared_server, base["id"], "hotel")) == {"travel-2.md"}
    [broken] = await upload(shared_server, base["id"], ("travel-3.pdf", b"no pdf at all"), ids=json.dumps([item["id"]]))
    [failed] = await settled(shared_server, base["id"])
    assert (failed["status"], failed["searchable"], failed["error"]["message"] != "") == ("failed", True, True)
    assert "999" in (await search(shared_server, base["id"], "hotel euros", mode="keyword"))[0]["content"], (
        "the version before it still answers"
    )
    assert broken["id"] == item["id"]


async def test_equal_content_is_embedded_once(running: Running) -> None:
    base = await base_of(running)
    await upload(running, base["id"], ("one.md", TRAVEL))
    await settled(running, base["id"])
    database = await asyncpg.connect(running.dsn)
    try:
        other = await base_of(running, name="Copy")
        await upload(running, other["id"], ("two.md", TRAVEL))
        await settled(running, other["id"])
        vectors = await database.fetch(
            "SELECT c.hash, v.embedding::text AS e FROM knowledge_chunks c JOIN knowledge_vectors v USING (org_id, "
            "index_id, ordinal)"
        )
        assert len({row["hash"] for row in vectors}) * 2 == len(vectors)
        assert len({row["e"] for row in vectors}) == len({row["hash"] for row in vectors})
    finally:
        await database.close()


async def test_deletion_leaves_nothing_and_says_so(running: Running) -> None:
    base = await base_of(running)
    items = await upload(running, base["id"], ("travel.md", TRAVEL), ("sick.md", SICK))
    await settled(running, base["id"])
    gone = await running.call("DELETE", f"/v1/knowledgebase-items/{items[0]['id']}")
    assert sources(await search(running, base["id"], "hotel euros lunch")) == {"sick.md"}
    receipt = (await running.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert (receipt["kind"], receipt["subject_id"]) == ("knowledge_item", items[0]["id"])
    assert receipt["stores"]["knowledge_chunks"]["rows"] >= 1
    assert receipt["stores"]["blobs"] == {"rows": 1, "bytes": len(TRAVEL)}
    assert receipt["verified_at"]
    await running.call("DELETE", f"/v1/knowledgebase-items/{items[0]['id']}", 404)
    gone = await running.call("DELETE", f"/v1/knowledgebases/{base['id']}")
    receipt = (await running.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert (receipt["kind"], receipt["stores"]["knowledge_items"]["rows"], bool(receipt["verified_at"])) == (
        "knowledgebase",
        1,
        True,
    )
    await running.call("GET", f"/v1/knowledgebases/{base['id']}", 404)
    assert not [path for path in (running.data_dir / "knowledge").rglob("*") if path.is_file()]
    database = await asyncpg.connect(running.dsn)
    try:
        for table in (
            "knowledgebases",
            "knowledge_items",
            "knowledge_indexes",
            "knowledge_index_items",
            "knowledge_chunks",
            "knowledge_vectors",
            "knowledge_postings",
            "knowledge_transcripts",
        ):
            assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0
    finally:
        await database.close()


async def test_bad_uploads_store_nothing(running: Running) -> None:
    base = await base_of(running)
    one = ("a.txt", b"Some text")
    cases: list[tuple[dict[str, str], str]] = [
        ({"input": "{"}, "input"),
        ({"input": "[]"}, "input"),
        ({"input": '{"metadata": {}}'}, "input.metadata"),
        ({"input": '{"metadata": []}'}, "input.metadata"),
        ({"input": '{"metadata": [1]}'}, "input.metadata[0]"),
        ({"input": '{"metadatas": []}'}, "input.metadatas"),
        ({"input": '{"metadata": [{"a": "\\u0000"}]}'}, "input.metadata[0].a"),
        ({"input": json.dumps({"metadata": [{"a": "x" * 70_000}]})}, "input.metadata[0]"),
        ({"ids": "[]"}, "ids"),
        ({"ids": '["nothing"]'}, "ids[0]"),
        ({"ids": f'["{uuid4()}"]'}, "ids[0]"),
    ]
    for fields, field in cases:
        error = await upload(running, base["id"], one, status=400, **fields)
        assert list(error["details"]) == [field], (fields, error)
    item_id = (await upload(running, base["id"], one))[0]["id"]
    twice = await upload(running, base["id"], one, one, status=400, ids=json.dumps([item_id, item_id]))
    assert list(twice["details"]) == ["ids[1]"]
    await running.call("POST", f"/v1/knowledgebases/{base['id']}/upload", 415, json={"files": []})
    await running.call("POST", f"/v1/knowledgebases/{base['id']}/upload", 400, files=[("wrong", ("a.txt", b"x"))])
    assert len(await settled(running, base["id"])) == 1
    assert len([path for path in (running.data_dir / "knowledge").rglob("*") if path.is_file()]) == 1


async def test_bad_settings_and_searches(shared_server: Running) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": " "}, "name"),
        ({"name": "x", "language": "klingon"}, "language"),
        ({"name": "x", "embedder": {"provider": "local", "model": "other"}}, "embedder.model"),
        ({"name": "x", "embedder": {"provider": "server", "model": "any"}}, "embedder.model"),
        ({"name": "x", "embedder": {"provider": "connection", "model": "any"}}, "embedder.connection_id"),
        (
            {"name": "x", "embedder": {"provider": "local", "model": "all-MiniLM-L6-v2", "dimensions": 3}},
            "embedder.dimensions",
        ),
        ({"name": "x", "chunking": {"characters_max": 1}}, "chunking.characters_max"),
        ({"name": "x", "retriever": {"mode": "magic"}}, "retriever.mode"),
        ({"name": "x", "project_id": str(uuid4())}, "project_id"),
    ]
    for body, field in cases:
        error = (await shared_server.call("POST", "/v1/knowledgebases", 400, json=body))["error"]
        assert list(error["details"]) == [field], (body, error)
    base = await base_of(shared_server)
    for body, field in (
        ({"query": " "}, "query"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 101}, "limit"),
        ({"query": "x", "alpha": 2}, "alpha"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x" * 9_000}, "query"),
        ({"query": "x", "filters": {"operator": "AND"}}, "filters.conditions"),
    ):
        error = (await shared_server.call("POST", f"/kb/{base['id']}/v1/documents/search", 400, json=body))["error"]
        assert list(error["details"]) == [field], (body, error)
    assert await search(shared_server, base["id"], "an empty base answers") == []


async def test_an_idempotent_upload_happens_once(shared_server: Running) -> None:
    base = await base_of(shared_server)
    url, key = f"/v1/knowledgebases/{base['id']}/upload", {"Idempotency-Key": "again"}
    first = await shared_server.call("POST", url, 201, files=[("files", ("a.txt", b"one"))], headers=key)
    second = await shared_server.call("POST", url, 201, files=[("files", ("a.txt", b"one"))], headers=key)
    assert [item["id"] for item in first["data"]] == [item["id"] for item in second["data"]]
    await shared_server.call("POST", url, 409, files=[("files", ("a.txt", b"two"))], headers=key)
    assert len(await settled(shared_server, base["id"])) == 1


async def test_settings_change_safely(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await shared_server.call("PUT", f"/v1/knowledgebases/{base['id']}", json={"language": "german"})
    await upload(shared_server, base["id"], ("travel.md", TRAVEL))
    await settled(shared_server, base["id"])
    refused = await shared_server.call(
        "PUT", f"/v1/knowledgebases/{base['id']}", 409, json={"chunking": {"characters_max": 300}}
    )
    assert list(refused["error"]["details"]) == ["chunking"]
    await shared_server.call(
        "PUT", f"/v1/knowledgebases/{base['id']}", json={"retriever": {"mode": "keyword"}, "name": "New"}
    )
    await shared_server.call("DELETE", f"/v1/knowledgebases/{base['id']}/reindex", 400)
    new = {"chunking": {"characters_max": 200}, "language": "english"}
    begun = (await shared_server.call("POST", f"/v1/knowledgebases/{base['id']}/reindex", 202, json=new))["data"]
    assert begun["reindex"]["items"] == 1
    async with asyncio.timeout(30):
        while True:
            assert await search(shared_server, base["id"], "hotel"), (
                "the old index answers until the new one is complete"
            )
            shown = (await shared_server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"]
            if "reindex" not in shown:
                break
            await asyncio.sleep(0.05)
    assert (shown["chunking"]["characters_max"], shown["language"], shown["name"]) == (200, "english", "New")
    assert sources(await search(shared_server, base["id"], "hotels")) == {"travel.md"}


async def test_a_search_sees_settings_that_changed_since_the_one_before(shared_server: Running) -> None:
    """Settings are remembered between searches, also those of an embedder that nobody can reach."""
    base = await base_of(shared_server)
    path = f"/v1/knowledgebases/{base['id']}"
    await upload(shared_server, base["id"], ("travel.md", TRAVEL))
    await settled(shared_server, base["id"])
    query = {"query": "hotel", "explain": True}

    async def explained() -> dict[str, Any]:
        return (await shared_server.call("POST", f"/kb/{base['id']}/v1/documents/search", json=query))["explain"]

    assert "semantic" in await explained()
    await shared_server.call("PUT", path, json={"retriever": {"mode": "keyword"}})
    assert "semantic" not in await explained()
    await shared_server.call("PUT", path, json={"retriever": {"mode": "semantic"}})
    assert "keyword" not in await explained()
    await shared_server.call("DELETE", path)
    for _ in range(2):
        await shared_server.call("POST", f"/kb/{base['id']}/v1/documents/search", 403, json=query)


async def test_a_canceled_reindex_changes_nothing(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("travel.md", TRAVEL))
    await settled(shared_server, base["id"])
    await shared_server.call("POST", f"/v1/knowledgebases/{base['id']}/reindex", 202, json={"language": "french"})
    await shared_server.call("DELETE", f"/v1/knowledgebases/{base['id']}/reindex")
    [item] = await settled(shared_server, base["id"])
    shown = (await shared_server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"]
    assert (item["status"], shown["language"], "reindex" in shown) == ("processed", "english", False)
    assert await search(shared_server, base["id"], "hotel")


async def test_two_projects(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("sick.md", SICK))
    [item] = await settled(shared_server, base["id"])
    project = (await shared_server.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    stranger = (await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "s", "project_id": project}))[
        "data"
    ]["key"]
    headers = {"Authorization": f"Bearer {stranger}"}
    host = {**headers, "Host": base["hostname"]}
    for method, path in (
        ("GET", f"/v1/knowledgebases/{base['id']}"),
        ("DELETE", f"/v1/knowledgebases/{base['id']}"),
        ("GET", f"/v1/knowledgebases/{base['id']}/items"),
        ("GET", f"/v1/knowledgebase-items/{item['id']}"),
        ("GET", f"/v1/knowledgebase-items/{item['id']}/content"),
        ("DELETE", f"/v1/knowledgebase-items/{item['id']}"),
        ("POST", f"/v1/knowledgebase-items/{item['id']}/reprocess"),
    ):
        assert (await shared_server.client.request(method, path, headers=headers)).status_code == 404, path
    document = (await shared_server.client.get("/openapi.json", headers={"Host": base["hostname"]})).json()
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in ("/health", "/ready"):
                continue
            content = operation.get("requestBody", {}).get("content", {})
            body: dict[str, Any] = (
                {"files": [("files", ("a.txt", b"x"))]}
                if "multipart/form-data" in content
                else {"json": {"query": "ill"}}
                if content
                else {}
            )
            url = path.format(item_id=item["id"], vector_store_id=base["id"])
            for where in (host, {**headers}):
                target = url if where is host else f"/kb/{base['id']}{url}"
                refused = await shared_server.client.request(method.upper(), target, headers=where, **body)
                assert refused.status_code == 403, f"{method} {target}: {refused.text}"
                assert "doctor" not in refused.text
                tried += 1
    assert tried >= 14
    unknown = await shared_server.client.post(
        "/v1/documents/search", headers={"Host": f"{uuid4()}.kb.localhost"}, json={"query": "x"}
    )
    assert unknown.status_code == 403
    assert (
        await shared_server.client.post(
            "/v1/documents/search", headers={"Host": "none.kb.localhost"}, json={"query": "x"}
        )
    ).status_code == 404
    assert (
        await shared_server.client.post(
            "/v1/documents/search", headers={"Host": base["hostname"], "Authorization": ""}, json={"query": "x"}
        )
    ).status_code == 401
    assert len(await settled(shared_server, base["id"])) == 1


async def test_an_agent_searches_and_cites(dsn: str, tmp_path: Path) -> None:
    model = ScriptedModel(
        [
            calling(("search_knowledge", '{"query": "When is a note of a doctor needed?"}')),
            answer("After three days [1]."),
        ]
    )
    async with serving(dsn, tmp_path, model) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("sick.md", SICK), ("travel.md", TRAVEL))
        items = await settled(server, base["id"])
        conversation = await server.conversation(agent={"knowledge_bases": [base["id"]]})
        run = await server.ask(conversation, "When do I need a note from a doctor?")
        [event] = [one["data"] for one in await server.events(run["id"]) if one["type"] == "agent.tool_call.completed"]
        cited = json.loads(event["result"])
        assert event["tool"] == {"name": "search_knowledge", "type": "knowledge_base"}
        assert (cited[0]["citation"], cited[0]["source"]) == ("[1]", "sick.md")
        assert cited[0]["item_id"] in {item["id"] for item in items}
        refused = await server.call(
            "POST",
            "/v1/conversations",
            400,
            json={"model_id": await server.model_id(), "agent": {"knowledge_bases": [str(uuid4())]}},
        )
        assert list(refused["error"]["details"]) == ["agent.knowledge_bases[0]"]


async def test_bases_are_given_and_taken_while_a_conversation_lasts(dsn: str, tmp_path: Path) -> None:
    """By PATCH, by keys that may read them; a base that is gone meanwhile gives nothing, and breaks nothing."""
    look = calling(("search_knowledge", '{"query": "hotel"}'))
    model = ScriptedModel([answer("No tools."), look, answer("ok"), look, answer("ok")])
    async with serving(dsn, tmp_path, model) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("travel.md", TRAVEL))
        await settled(server, base["id"])
        conversation = await server.conversation()
        await server.ask(conversation, "Hotels?")
        assert model.requests[0].tools == []
        agent = {"agent": {"knowledge_bases": [base["id"]]}}
        talker = (
            await server.call(
                "POST",
                "/v1/access-keys",
                201,
                json={"name": "t", "permissions": ["conversations:write", "conversations:read"]},
            )
        )["data"]
        refused = await server.client.patch(
            f"/v1/conversations/{conversation}", json=agent, headers={"Authorization": f"Bearer {talker['key']}"}
        )
        assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["agent.knowledge_bases[0]"])
        await server.call("PATCH", f"/v1/conversations/{conversation}", json=agent)
        run = await server.ask(conversation, "Hotels?")
        [found] = [
            one["data"]["result"]
            for one in await server.events(run["id"])
            if one["type"] == "agent.tool_call.completed"
        ]
        assert "140 euros" in found
        await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
        run = await server.ask(conversation, "Hotels?")
        [found] = [
            one["data"]["result"]
            for one in await server.events(run["id"])
            if one["type"] == "agent.tool_call.completed"
        ]
        assert (run["status"], "Nothing was found" in found) == ("completed", True)


async def test_a_model_without_tools_is_given_what_a_search_finds(dsn: str, tmp_path: Path) -> None:
    model = ScriptedModel([answer("ok")], Capabilities(images=False, tools=False))
    async with serving(dsn, tmp_path, model) as server:
        base = await base_of(server)
        await upload(server, base["id"], ("travel.md", TRAVEL), ("sick.md", SICK))
        await settled(server, base["id"])
        conversation = await server.conversation(agent={"knowledge_bases": [base["id"]]})
        await server.ask(conversation, "What may a hotel cost?")
        parts = [part for part in model.requests[0].messages[-1].parts if isinstance(part, DocumentPart)]
        assert parts[0].name == "travel.md"
        assert "140 euros" in parts[0].passages[0].text
        empty = await base_of(server, name="Empty")
        conversation = await server.conversation(agent={"knowledge_bases": [empty["id"]]})
        await server.ask(conversation, "What may a hotel cost?")
        assert [part for part in model.requests[1].messages[-1].parts if isinstance(part, DocumentPart)] == [
            DocumentPart("the knowledge bases", complete=False)
        ]


async def test_the_end_user_of_a_conversation_limits_what_is_found(dsn: str, tmp_path: Path) -> None:
    search_call = calling(("search_knowledge", '{"query": "hotel costs"}'))
    model = ScriptedModel([search_call, answer("ok"), search_call, answer("ok")])
    async with serving(dsn, tmp_path, model) as server:
        base = await base_of(server)
        await upload(
            server, base["id"], ("travel.md", TRAVEL), input=json.dumps({"metadata": [{"acl": {"users": ["ada"]}}]})
        )
        await settled(server, base["id"])
        found: list[str] = []
        for user in ("ada", "eve"):
            conversation = await server.conversation(agent={"knowledge_bases": [base["id"]]}, user_id=user)
            run = await server.ask(conversation, "What may a hotel cost?")
            found += [
                one["data"]["result"]
                for one in await server.events(run["id"])
                if one["type"] == "agent.tool_call.completed"
            ]
            assert (await server.call("GET", f"/v1/runs?user_id={user}"))["pagination"]["total_count"] == 1
        assert "travel.md" in found[0]
        assert "travel.md" not in found[1]


@pytest.mark.parametrize("wrong", ["", "Handbook\x00", "x" * 300])
async def test_names(shared_server: Running, wrong: str) -> None:
    assert list(
        (await shared_server.call("POST", "/v1/knowledgebases", 400, json={"name": wrong}))["error"]["details"]
    ) == ["name"]


async def test_openai_and_mcp_clients_find_the_same(shared_server: Running) -> None:
    """The official clients, at the base's own address, with the same key."""
    base = await base_of(shared_server, name="Policies", description="What the office pays for.")
    await upload(
        shared_server,
        base["id"],
        ("travel.md", TRAVEL),
        ("sick.md", SICK),
        input=json.dumps({"metadata": [{"team": "office"}, {"team": "hr"}]}),
    )
    await settled(shared_server, base["id"])
    ours = await search(shared_server, base["id"], "what may a hotel cost", limit=3)
    for url in (shared_server.url, base["url"]):
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=FIRST_KEY) as openai:
            theirs = [
                one
                async for one in await openai.vector_stores.search(
                    base["id"], query="what may a hotel cost", max_num_results=3
                )
            ]
            assert [(one.file_id, one.filename, one.content[0].text, one.score) for one in theirs] == [
                (hit["metadata"]["file_id"], hit["metadata"]["source"], hit["content"], hit["score"]) for hit in ours
            ]
    async with AsyncOpenAI(base_url=f"{base['url']}/v1", api_key=FIRST_KEY) as openai:
        wanted = {
            "type": "or",
            "filters": [{"type": "eq", "key": "team", "value": "hr"}, {"type": "eq", "key": "team", "value": "none"}],
        }
        limited = [
            one
            async for one in await openai.vector_stores.search(base["id"], query=["hotel", "doctor"], filters=wanted)
        ]
        assert {one.filename for one in limited} == {"sick.md"}
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {FIRST_KEY}"}) as http,
        streamable_http_client(f"{base['url']}/mcp", http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        [tool] = (await session.list_tools()).tools
        assert (tool.name, "Policies" in tool.description, "What the office pays for." in tool.description) == (
            "search",
            True,
            True,
        )
        found = await session.call_tool("search", {"query": "what may a hotel cost", "limit": 3})
        assert not {"user", "groups"} & set(tool.input_schema["properties"]), (
            "a model does not say whom it searches for"
        )
        assert not found.is_error
        assert found.structured_content["data"] == ours
        assert json.loads(found.content[0].text)["data"] == ours
        for arguments, said in (
            ({"query": " "}, "query cannot be blank"),
            ({"query": "x", "limit": 1_000}, "limit"),
            ({"query": "x", "filters": {"operator": "AND"}}, "conditions"),
            ({"query": "x", "user": "eve"}, "user"),
            ({"query": "x", "groups": ["hr"]}, "groups"),
        ):
            refused = await session.call_tool("search", arguments)
            assert refused.is_error
            assert said in refused.content[0].text
        assert (await session.call_tool("drop", {})).is_error


async def test_mcp_admits_whom_the_host_admits(shared_server: Running) -> None:
    base = await base_of(shared_server)
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": "x"}},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    project = (await shared_server.call("POST", "/v1/projects", 201, json={"name": "Elsewhere"}))["data"]["id"]
    stranger = (await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "s", "project_id": project}))[
        "data"
    ]["key"]
    writer = (
        await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "w", "permissions": ["knowledge:write"]})
    )["data"]["key"]
    for headers, status in (
        ({}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer stoa_acc_" + "x" * 64}, 401),
        ({"Authorization": f"Bearer {stranger}"}, 403),
        ({"Authorization": f"Bearer {writer}"}, 403),
    ):
        for path, host in ((f"/kb/{base['id']}/mcp", {}), ("/mcp", {"Host": base["hostname"]})):
            answer = await shared_server.client.post(path, json=call, headers={**accept, **headers, **host})
            assert answer.status_code == status, (headers, answer.text)
    assert (
        await shared_server.client.post("/mcp", json=call, headers={**accept, "Host": f"{uuid4()}.kb.localhost"})
    ).status_code == 403
    garbage = await shared_server.client.post(
        f"/kb/{base['id']}/mcp", content=b"{", headers={**accept, "Content-Type": "application/json"}
    )
    assert garbage.status_code == 400
    assert (
        await shared_server.client.post(f"/kb/{base['id']}/mcp", content=b"x" * 300_000, headers=accept)
    ).status_code == 413


async def test_a_replacement_keeps_what_it_does_not_name(shared_server: Running) -> None:
    """Metadata that is left out stays: an item that only some may see does not open by being replaced."""
    base = await base_of(shared_server)
    [item] = await upload(
        shared_server,
        base["id"],
        ("pay.md", b"Salaries are secret."),
        input=json.dumps({"metadata": [{"acl": {"users": ["ada"]}}]}),
    )
    await settled(shared_server, base["id"])
    await upload(shared_server, base["id"], ("pay2.md", b"Salaries are still secret."), ids=json.dumps([item["id"]]))
    [done] = await settled(shared_server, base["id"])
    assert done["metadata"]["acl"] == {"users": ["ada"]}
    assert await search(shared_server, base["id"], "salaries", user="eve") == []
    await upload(
        shared_server,
        base["id"],
        ("pay2.md", b"Salaries are public."),
        ids=json.dumps([item["id"]]),
        input='{"metadata": [{}]}',
    )
    await settled(shared_server, base["id"])
    assert len(await search(shared_server, base["id"], "salaries", user="eve")) == 1


async def test_what_fails_says_why_and_can_be_tried_again(shared_server: Running) -> None:
    base = await base_of(shared_server)
    locked = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    hostile = [
        ("cut.pdf", HANDBOOK.read_bytes()[:700]),
        ("empty.txt", b""),
        ("locked.docx", locked),
        ("fine.txt", b"All is well."),
    ]
    items = await upload(shared_server, base["id"], *hostile)
    done = {item["name"]: item for item in await settled(shared_server, base["id"])}
    assert {name: item.get("error", {}).get("code") for name, item in done.items()} == {
        "cut.pdf": "corrupt_file",
        "empty.txt": "empty_file",
        "locked.docx": "encrypted_file",
        "fine.txt": None,
    }
    assert all(done[name]["error"]["message"].startswith(name) for name in ("cut.pdf", "empty.txt", "locked.docx"))
    listed = (await shared_server.call("GET", f"/v1/knowledgebases/{base['id']}/items?status=failed"))["data"]
    assert {item["name"] for item in listed} == {"cut.pdf", "empty.txt", "locked.docx"}
    assert (await shared_server.call("POST", f"/v1/knowledgebases/{base['id']}/reprocess"))["items"] == 3
    assert sum(item["status"] == "failed" for item in await settled(shared_server, base["id"])) == 3
    one = await shared_server.call("POST", f"/v1/knowledgebase-items/{items[3]['id']}/reprocess")
    assert (one["data"]["status"], one["data"]["searchable"]) == ("pending", True)
    assert sources(await search(shared_server, base["id"], "is all well")) == {"fine.txt"}
    await settled(shared_server, base["id"])


async def test_a_re_index_carries_over_what_answers(shared_server: Running) -> None:
    """The version that answers is in the new index too where its replacement could not be read, and what was canceled
    leaves no trace."""
    base = await base_of(shared_server)
    path = f"/v1/knowledgebases/{base['id']}"
    kept, plain = await upload(shared_server, base["id"], ("kept.md", TRAVEL), ("plain.md", SICK))
    await settled(shared_server, base["id"])
    await upload(shared_server, base["id"], ("kept.pdf", b"no pdf"), ids=json.dumps([kept["id"]]))
    await settled(shared_server, base["id"])
    before = (await shared_server.call("GET", path))["data"]["chunk_count"]
    await shared_server.call("POST", f"{path}/reindex", 202, json={"language": "german"})
    await shared_server.call("POST", f"{path}/reindex", 409, json={})
    async with asyncio.timeout(30):
        while "reindex" in (shown := (await shared_server.call("GET", path))["data"]):
            assert sources(await search(shared_server, base["id"], "hotel note doctor", mode="keyword")) == {
                "kept.md",
                "plain.md",
            }
            await asyncio.sleep(0.02)
    assert (shown["language"], shown["chunk_count"]) == ("german", before)
    items = {item["id"]: item for item in await settled(shared_server, base["id"])}
    assert (items[kept["id"]]["status"], items[plain["id"]]["status"]) == ("failed", "processed")
    assert sources(await search(shared_server, base["id"], "hotel note doctor", mode="keyword")) == {
        "kept.md",
        "plain.md",
    }


async def test_a_crowd_does_not_starve_a_small_base(shared_server: Running) -> None:
    """A hundred and fifty files wait in one base; one file of another does not wait for them all."""
    crowd, small = await base_of(shared_server, name="Crowd"), await base_of(shared_server, name="Small")
    await upload(
        shared_server,
        crowd["id"],
        *((f"{number}.txt", f"Number {number} of the crowd.".encode()) for number in range(150)),
    )
    await upload(shared_server, small["id"], ("one.txt", b"The only one."))
    await settled(shared_server, small["id"])
    waiting = (await shared_server.call("GET", f"/v1/knowledgebases/{crowd['id']}/items?status=pending"))["pagination"][
        "total_count"
    ]
    assert waiting > 5
    await settled(shared_server, crowd["id"])


async def test_progress_is_told_by_page_and_chunk(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("handbook.pdf", HANDBOOK.read_bytes()))
    [item] = await settled(shared_server, base["id"])
    progress = item["progress"]
    assert (progress["pages"], progress["pages_total"]) == (5, 5)
    assert progress["chunks"] == progress["chunks_total"] > 10


INGESTION: dict[str, Any] = {
    "flow": {
        "id": "f",
        "nodes": [
            {"id": "split", "type": "dynamiq.nodes.splitters.DocumentSplitter", "split_by": "word", "split_length": 50}
        ],
    },
    "flow_ui": {"nodes": [], "edges": []},
    "runtime_id": "01890a5d-ac96-774b-bcce-b302099a8057",
}


async def test_an_ingestion_flow_is_kept_and_read(shared_server: Running) -> None:
    """As the platform's clients send it: with a flow, and a change with nulls for what has no value."""
    base = await base_of(shared_server, **INGESTION)
    path = f"/v1/knowledgebases/{base['id']}"
    shown = (await shared_server.call("GET", path))["data"]
    assert {name: shown[name] for name in INGESTION} == INGESTION
    assert shown["chunking"] == {"characters_max": 300}
    change = {"description": "Rules.", "runtime_id": None, "workflow_version_id": None}
    changed = (await shared_server.call("PUT", path, json=change))["data"]
    assert changed["description"] == "Rules."
    assert "runtime_id" not in changed
    assert changed["flow"] == INGESTION["flow"]
    (listed,) = [
        one
        for one in (await shared_server.call("GET", "/v1/knowledgebases?page_size=500"))["data"]
        if one["id"] == base["id"]
    ]
    assert "flow" not in listed
    assert "flow_ui" not in listed
    said = await base_of(shared_server, **INGESTION, chunking={"characters_max": 900})
    assert said["chunking"] == {"characters_max": 900}, "what is said outright goes before the flow"
    nul = {"name": "n", "flow": {"nodes": [{"name": "a\0"}]}}
    refused = await shared_server.call("POST", "/v1/knowledgebases", 400, json=nul)
    assert "flow.nodes[0].name" in refused["error"]["details"]
    node = {"type": "dynamiq.nodes.embedders.OpenAIDocumentEmbedder", "connection": str(uuid4())}
    unknown = {"name": "n", "flow": {"nodes": [node]}}
    refused = await shared_server.call("POST", "/v1/knowledgebases", 400, json=unknown)
    assert "embedder" in refused["error"]["details"]


async def test_a_graph_search_answers_with_passages(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("travel.md", TRAVEL), ("sick.md", SICK))
    await settled(shared_server, base["id"])
    path = f"/v1/knowledgebases/{base['id']}/graph-search"
    found = (await shared_server.call("POST", path, json={"query": "What may a hotel cost?", "limit": 2}))["data"]
    assert "140 euros" in found["content"]
    assert found["documents"][0]["metadata"]["source"] == "travel.md"
    only = {"query": "hotel", "filters": {"source": "sick.md"}, "user": "u-1"}
    assert "hotel" not in (await shared_server.call("POST", path, json=only))["data"]["content"]

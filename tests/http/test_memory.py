"""Memories and memory stores over HTTP: shapes, scopes, limits, isolation, receipts."""

from typing import Any
from uuid import uuid4

from tests.conftest import Running


def text(said: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": said}]}


async def memory(server: Running, name: str = "support") -> str:
    return str((await server.call("POST", "/v1/memories", 201, json={"name": name}))["data"]["id"])


async def store(server: Running, name: str = "notes") -> str:
    return str((await server.call("POST", "/v1/memory-stores", 201, json={"name": name}))["data"]["id"])


async def remember(server: Running, memory_id: str, said: str, **fields: Any) -> dict[str, Any]:
    body = {"user_id": "u-1", "type": "message", "data": text(said), **fields}
    return dict((await server.call("POST", f"/v1/memories/{memory_id}/items", 201, json=body))["data"])


async def said(server: Running, memory_id: str, **params: Any) -> list[str]:
    found = await server.call("GET", f"/v1/memories/{memory_id}/items", params={"user_id": "u-1", **params})
    assert found["pagination"]["total_count"] == len(found["data"])
    return [one["data"]["content"][0]["text"] for one in found["data"]]


async def test_items_belong_to_a_user_and_a_session(shared_server: Running) -> None:
    server = shared_server
    memory_id, session, other = await memory(server), str(uuid4()), str(uuid4())
    made = await remember(server, memory_id, "one", session_id=session, metadata={"n": 1})
    assert made["type"] == "message"
    assert made["data"] == text("one")
    assert made["metadata"] == {"n": 1}
    await remember(server, memory_id, "two", session_id=session)
    await remember(server, memory_id, "elsewhere", session_id=other)
    await remember(server, memory_id, "of no session")
    await remember(server, memory_id, "somebody else's", user_id="u-2", session_id=session)
    assert await said(server, memory_id, session_id=session) == ["two", "one"]
    assert await said(server, memory_id, session_id=session, sort="created_at") == ["one", "two"]
    assert await said(server, memory_id) == ["of no session"]
    assert await said(server, memory_id, include_scope=["user", "session"]) == [
        "of no session", "elsewhere", "two", "one"]  # fmt: skip
    assert await said(server, memory_id, include_scope="session") == ["elsewhere", "two", "one"]
    assert await said(server, memory_id, session_id=session, include_scope=["user", "session"]) == [
        "of no session", "two", "one"]  # fmt: skip


async def test_times_of_items_differ(shared_server: Running) -> None:
    """The platform's client sorts by them."""
    memory_id = await memory(shared_server)
    times = [
        (await remember(shared_server, memory_id, str(number), session_id="s"))["created_at"] for number in range(9)
    ]
    assert times == sorted(set(times))


async def test_clearing_a_session_leaves_the_others(shared_server: Running) -> None:
    server = shared_server
    memory_id = await memory(server)
    await remember(server, memory_id, "one", session_id="a")
    await remember(server, memory_id, "two", session_id="b")
    await remember(server, memory_id, "three")
    path = f"/v1/memories/{memory_id}/items"
    gone = await server.call("DELETE", path, params={"user_id": "u-1", "session_id": "a"})
    assert gone["message"] == "deleted"
    assert gone["deleted_count"] == 1
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["kind"] == "memory_items"
    assert receipt["verified_at"]
    assert receipt["stores"]["memory_items"]["rows"] == 1
    assert receipt["stores"]["memory_items"]["bytes"] > 0
    nothing = await server.call("DELETE", path, params={"user_id": "u-1", "session_id": "a"})
    assert nothing == {"message": "deleted", "deleted_count": 0}
    assert await said(server, memory_id, include_scope=["user", "session"]) == ["three", "two"]
    await server.call("DELETE", path, params={"user_id": "u-1"})
    assert await said(server, memory_id, include_scope=["user", "session"]) == ["two"]


async def test_deleting_a_memory_takes_its_items(shared_server: Running) -> None:
    server = shared_server
    memory_id = await memory(server)
    await remember(server, memory_id, "one")
    gone = await server.call("DELETE", f"/v1/memories/{memory_id}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["subject_id"] == memory_id
    assert receipt["verified_at"]
    assert {name: held["rows"] for name, held in receipt["stores"].items() if held["rows"]} == {
        "memories": 1, "memory_items": 1}  # fmt: skip
    await server.call("GET", f"/v1/memories/{memory_id}", 404)
    await server.call("DELETE", f"/v1/memories/{memory_id}", 404)


async def test_a_repeated_request_adds_one_item(shared_server: Running) -> None:
    server = shared_server
    memory_id = await memory(server)
    body = {"user_id": "u-1", "data": text("once")}
    headers = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/memories/{memory_id}/items"
    first = await server.call("POST", path, 201, json=body, headers=headers)
    assert await server.call("POST", path, 201, json=body, headers=headers) == first
    assert await said(server, memory_id) == ["once"]


async def test_files_of_a_store(shared_server: Running) -> None:
    server = shared_server
    store_id = await store(server)
    path, who = f"/v1/memory-stores/{store_id}/files", {"user_id": "u-1"}
    written = (await server.call("PUT", path, json={**who, "path": "notes/a.md", "content": "Grüße"}))["data"]
    assert (written["path"], written["size"]) == ("notes/a.md", 5)
    assert "content" not in written
    await server.call("PUT", path, json={**who, "path": "b.md", "content": "b"})
    await server.call("PUT", path, json={"user_id": "u-2", "path": "c.md", "content": "c"})
    names = [one["path"] for one in (await server.call("GET", path, params=who))["data"]]
    assert names == ["b.md", "notes/a.md"]
    some = (await server.call("GET", path, params={**who, "path": "notes/"}))["data"]
    assert [one["path"] for one in some] == ["notes/a.md"]
    one = await server.call("GET", f"{path}/content", params={**who, "path": "notes/a.md"})
    assert one["data"]["content"] == "Grüße"
    await server.call("GET", f"{path}/content", 404, params={**who, "path": "c.md"})
    await server.call("PUT", path, json={**who, "path": "b.md", "content": "other"})
    one = await server.call("GET", f"{path}/content", params={**who, "path": "b.md"})
    assert one["data"]["content"] == "other"
    gone = await server.call("DELETE", path, params={**who, "path": "b.md"})
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["kind"] == "memory_file"
    assert receipt["verified_at"]
    await server.call("DELETE", path, 404, params={**who, "path": "b.md"})


async def test_paths_and_sizes_of_files_are_limited(shared_server: Running) -> None:
    server = shared_server
    path = f"/v1/memory-stores/{await store(server)}/files"
    for bad in ("", " ", "/a", "a//b", "a/../b", "./a", "..", "a\\b", "a\x07", "a/", "x" * 600):
        refused = await server.call("PUT", path, 400, json={"user_id": "u", "path": bad, "content": "c"})
        assert "path" in refused["error"]["details"], bad
    good = {"user_id": "u", "path": "a", "content": "x" * 8_192}
    await server.call("PUT", path, json=good)
    refused = await server.call("PUT", path, 400, json={**good, "content": "x" * 8_193})
    assert "8192" in refused["error"]["details"]["content"]
    for number in range(99):
        await server.call("PUT", path, json={"user_id": "u", "path": f"f{number}", "content": "c"})
    refused = await server.call("PUT", path, 409, json={"user_id": "u", "path": "one-more", "content": "c"})
    assert "100 files" in refused["error"]["message"]
    await server.call("PUT", path, json={**good, "content": "what is there can still change"})
    await server.call("PUT", path, json={**good, "user_id": "another"})


async def test_stores_are_made_changed_and_deleted(shared_server: Running) -> None:
    server = shared_server
    body = {"name": "notes", "description": "of users"}
    made = (await server.call("POST", "/v1/memory-stores", 201, json=body))["data"]
    path = f"/v1/memory-stores/{made['id']}"
    changed = (await server.call("PUT", path, json={"name": "other", "description": None}))["data"]
    assert changed["name"] == "other"
    assert "description" not in changed
    listed = (await server.call("GET", "/v1/memory-stores", params={"project_id": made["project_id"]}))["data"]
    assert made["id"] in [one["id"] for one in listed]
    await server.call("PUT", f"{path}/files", json={"user_id": "u", "path": "a", "content": "c"})
    gone = await server.call("DELETE", path)
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["stores"]["memory_files"] == {"rows": 1, "bytes": 1}
    assert receipt["verified_at"]
    await server.call("GET", path, 404)

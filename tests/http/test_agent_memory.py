"""Agents remember their users: what they read before an answer, what they keep of it, the notes that they write."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from stoa.gateway import Capabilities, DocumentPart, ModelRequest, TextPart
from tests.conftest import Running, serving
from tests.support.apps import deployed, project, released
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import flow, node

BACKEND = "dynamiq.memory.backends.Dynamiq"


@pytest.fixture(scope="module")
async def shared(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"remembering_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model) as server:
        yield server


@pytest.fixture
def server(shared: Running) -> Running:
    shared.model.scripts = [answer("Noted.")]
    shared.model.requests.clear()
    return shared


async def memory(server: Running) -> str:
    return str((await server.call("POST", "/v1/memories", 201, json={"name": "m"}))["data"]["id"])


async def store(server: Running) -> str:
    return str((await server.call("POST", "/v1/memory-stores", 201, json={"name": "s"}))["data"]["id"])


def remembering(memory_id: str, **fields: Any) -> dict[str, Any]:
    """A graph whose agent has the memory, as the platform's clients write it."""
    backend = {"type": BACKEND, "memory_id": memory_id}
    return flow(node("agent", "a", "start", memory={"backend": backend}, **fields))


async def run(server: Running, app: dict[str, Any], said: str, **fields: Any) -> dict[str, Any]:
    body = {"input": {"input": said}, **fields}
    return dict((await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"])


async def kept(server: Running, memory_id: str, user_id: str = "u", **params: Any) -> list[tuple[str, str]]:
    params = {"user_id": user_id, "include_scope": ["user", "session"], "sort": "created_at", **params}
    found = (await server.call("GET", f"/v1/memories/{memory_id}/items", params=params))["data"]
    return [(one["data"]["role"], one["data"]["content"][0]["text"]) for one in found]


def dialogue(request: ModelRequest) -> list[tuple[str, str]]:
    return [(one.role, part.text) for one in request.messages for part in one.parts if isinstance(part, TextPart)]


def shown(request: ModelRequest) -> list[str]:
    parts = [part for one in request.messages for part in one.parts if isinstance(part, DocumentPart)]
    return [passage.text for part in parts for passage in part.passages]


async def test_a_graphs_agent_reads_and_keeps_its_session(server: Running) -> None:
    memory_id, session = await memory(server), str(uuid4())
    app = await deployed(server, remembering(memory_id))
    first = await run(server, app, "I am Ada.", user_id="u", session_id=session)
    await run(server, app, "Who am I?", user_id="u", session_id=session)
    assert dialogue(server.model.requests[-1]) == [
        ("user", "I am Ada."), ("assistant", "Noted."), ("user", "Who am I?")]  # fmt: skip
    assert await kept(server, memory_id, session_id=session) == [
        ("user", "I am Ada."), ("assistant", "Noted."), ("user", "Who am I?"), ("assistant", "Noted.")]  # fmt: skip
    items = await server.call(
        "GET", f"/v1/memories/{memory_id}/items", params={"user_id": "u", "session_id": session, "sort": "created_at"}
    )
    assert items["data"][0]["run_id"] == first["id"]
    await run(server, app, "Another session", user_id="u", session_id=str(uuid4()))
    assert dialogue(server.model.requests[-1]) == [("user", "Another session")]
    await run(server, app, "Another user", user_id="v", session_id=session)
    assert dialogue(server.model.requests[-1]) == [("user", "Another user")]


@pytest.mark.parametrize("save_mode", ["full", "input_output"])
async def test_calls_of_tools_are_remembered_where_the_memory_says_so(server: Running, save_mode: str) -> None:
    memory_id, store_id, session = await memory(server), await store(server), str(uuid4())
    notes = {"enabled": True, "backend": {"memory_store_id": store_id}}
    backend = {"type": BACKEND, "memory_id": memory_id}
    remembered = {"backend": backend, "save_mode": save_mode}
    app = await deployed(server, flow(node("agent", "a", "start", memory=remembered, memory_store=notes)))
    server.model.scripts = [calling(("memory_store", '{"action": "list"}'), say="Looking."), answer("Nothing.")]
    await run(server, app, "Any notes?", user_id="u", session_id=session)
    params = {"user_id": "u", "session_id": session, "sort": "created_at"}
    items = [
        one["data"] for one in (await server.call("GET", f"/v1/memories/{memory_id}/items", params=params))["data"]
    ]
    server.model.scripts = [answer("Still none.")]
    await run(server, app, "And now?", user_id="u", session_id=session)
    parts = [type(part).__name__ for one in server.model.requests[-1].messages for part in one.parts]
    if save_mode == "input_output":
        assert [one["role"] for one in items] == ["user", "assistant"]
        assert parts == ["TextPart"] * 3
        return
    assert [one["role"] for one in items] == ["user", "assistant", "tool", "assistant"]
    (call,) = items[1]["tool_calls"]
    assert (call["function"]["name"], items[2]["tool_call_id"], items[2]["name"]) == (
        "memory_store", call["id"], "memory_store")  # fmt: skip
    assert items[3]["content"] == [{"type": "text", "text": "Nothing."}]
    assert parts == ["TextPart", "TextPart", "ToolCallPart", "ToolResultPart", "TextPart", "TextPart"]


async def test_without_a_session_everything_of_the_user_is_meant(server: Running) -> None:
    memory_id = await memory(server)
    app = await deployed(server, remembering(memory_id))
    await run(server, app, "in a session", user_id="u", session_id=str(uuid4()))
    await run(server, app, "in none", user_id="u")
    assert [said for role, said in dialogue(server.model.requests[-1]) if role == "user"] == ["in a session", "in none"]
    found = await server.call("GET", f"/v1/memories/{memory_id}/items", params={"user_id": "u"})
    assert found["pagination"]["total_count"] == 2


async def test_nobody_is_remembered_without_a_name(server: Running) -> None:
    memory_id = await memory(server)
    app = await deployed(server, remembering(memory_id))
    await run(server, app, "no user")
    assert await kept(server, memory_id) == []


async def test_an_anonymous_caller_of_a_public_app_cannot_act_as_a_user(server: Running) -> None:
    """Else anybody could read what is remembered of somebody by naming them."""
    memory_id, store_id, session = await memory(server), await store(server), str(uuid4())
    agent = {
        "model": "stoa-extractive",
        "memory": {"memory_id": memory_id, "scope": "user"},
        "memory_store": {"id": store_id},
    }
    app = await deployed(server, {"agent": agent}, access_control={"access_type": "public"})
    await run(server, app, "my secret", user_id="u", session_id=session)
    assert "memory_store" in [tool.name for tool in server.model.requests[-1].tools]
    anonymous = await server.client.post(
        f"/apps/{app['id']}/v1/runs",
        json={"input": {"input": "What was it?"}, "user_id": "u"},
        headers={"Authorization": ""},
    )
    assert anonymous.status_code == 200, anonymous.text
    assert dialogue(server.model.requests[-1]) == [("user", "What was it?")]
    assert "memory_store" not in [tool.name for tool in server.model.requests[-1].tools]
    assert [said for role, said in await kept(server, memory_id) if role == "user"] == ["my secret"]


@pytest.mark.parametrize("strategy", ["relevant", "both"])
async def test_what_is_relevant_is_found_again(server: Running, strategy: str) -> None:
    memory_id, session = await memory(server), str(uuid4())
    app = await deployed(server, remembering(memory_id, memory_retrieval_strategy=strategy, memory_limit=2))
    for said in ("My cat is called Minerva.", "The invoice 4711 is overdue.", "Good morning!"):
        await run(server, app, said, user_id="u", session_id=session)
    await run(server, app, "What is the name of my cat?", user_id="u", session_id=session)
    request = server.model.requests[-1]
    assert shown(request) == ["User: My cat is called Minerva.\n\nAssistant: Noted."]
    recent = [said for role, said in dialogue(request) if role == "user"]
    assert recent == (["What is the name of my cat?"] if strategy == "relevant" else
                      ["Good morning!", "What is the name of my cat?"])  # fmt: skip


async def test_the_scope_user_looks_into_other_sessions(server: Running) -> None:
    memory_id = await memory(server)
    settings = {"memory_id": memory_id, "strategy": "both", "scope": "user", "limit": 10}
    app = await deployed(server, {"agent": {"model": "stoa-extractive", "memory": settings}})
    await run(server, app, "My cat is called Minerva.", user_id="u", session_id=str(uuid4()))
    await run(server, app, "What is the name of my cat?", user_id="u", session_id=str(uuid4()))
    assert shown(server.model.requests[-1]) == ["User: My cat is called Minerva.\n\nAssistant: Noted."]
    assert dialogue(server.model.requests[-1]) == [("user", "What is the name of my cat?")]


async def test_a_conversations_agent_keeps_each_answer_once(server: Running) -> None:
    memory_id = await memory(server)
    agent = {"memory": {"memory_id": memory_id}}
    conversation = await server.conversation(agent=agent, user_id="u")
    await server.ask(conversation, "One")
    server.model.scripts = [answer("Noted."), answer("Better.")]
    await server.call("POST", f"/v1/conversations/{conversation}/regenerate", json={"stream": False})
    assert await kept(server, memory_id, session_id=conversation) == [("user", "One"), ("assistant", "Better.")]
    failing = await server.conversation(agent=agent, user_id="u")
    await server.call("DELETE", f"/v1/conversations/{failing}")


async def test_what_a_conversation_remembered_goes_with_it(server: Running) -> None:
    memory_id, store_id, session = await memory(server), await store(server), str(uuid4())
    agent = {"memory": {"memory_id": memory_id}, "memory_store": {"id": store_id}}
    conversation = await server.conversation(agent=agent, user_id="u")
    note = orjson.dumps({"action": "write", "path": "cat.md", "content": "Minerva"}).decode()
    server.model.scripts = [calling(("memory_store", note)), answer("Noted.")]
    await server.ask(conversation, "My cat is called Minerva.")
    assert len(await kept(server, memory_id)) == 2
    gone = await server.call("DELETE", f"/v1/conversations/{conversation}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["stores"]["memory_items"]["rows"] == 2
    assert receipt["stores"]["tool_effects"]["rows"] == 1
    assert receipt["verified_at"]
    assert await kept(server, memory_id) == []
    files = await server.call("GET", f"/v1/memory-stores/{store_id}/files", params={"user_id": "u"})
    assert [one["path"] for one in files["data"]] == ["cat.md"]  # A note is kept beyond conversations.
    assert session


async def test_an_agent_keeps_notes(server: Running) -> None:
    store_id = await store(server)
    field = {"enabled": True, "backend": {"memory_store_id": store_id, "description": "about pets"}}
    app = await deployed(server, flow(node("agent", "a", "start", memory_store=field)))
    calls = [
        {"action": "list"},
        {"action": "write", "path": "pets/cat.md", "content": "The cat is called Minerva."},
        {"action": "edit", "path": "pets/cat.md", "find": "Minerva", "replace": "Mia"},
        {"action": "edit", "path": "pets/cat.md", "find": "dog", "replace": "cat"},
        {"action": "read", "path": "pets/cat.md"},
        {"action": "read", "path": "nowhere.md"},
        {"action": "write", "path": "../up", "content": "x"},
        {"action": "write", "path": "empty"},
        {"action": "list"},
    ]
    server.model.scripts = [*(calling(("memory_store", orjson.dumps(one).decode())) for one in calls), answer("Done.")]
    made = await run(server, app, "Remember my cat.", user_id="u")
    lines = (await server.call("GET", f"/v1/runs/{made['id']}/tool-calls"))["data"]
    assert [number for number, one in enumerate(lines) if one["status"] == "failed"] == [3, 5, 6, 7]
    results = [one.get("result") or one["error"]["message"] for one in lines]
    assert results[0] == "No notes yet."
    assert results[2] == "Updated 'pets/cat.md' (1 replacement)."
    assert "does not appear" in results[3]
    assert results[4] == "The cat is called Mia."
    assert "no file 'nowhere.md'" in results[5]
    assert results[8].startswith("- pets/cat.md (22 characters, changed ")
    (offered,) = [tool for tool in server.model.requests[0].tools if tool.name == "memory_store"]
    assert "about pets" in offered.description


async def test_read_only_notes_are_not_changed(server: Running) -> None:
    store_id = await store(server)
    agent = {"model": "stoa-extractive", "memory_store": {"id": store_id, "write_enabled": False}}
    app = await deployed(server, {"agent": agent})
    note = orjson.dumps({"action": "write", "path": "a", "content": "x"}).decode()
    server.model.scripts = [calling(("memory_store", note)), answer("Done.")]
    made = await run(server, app, "Write", user_id="u")
    (line,) = (await server.call("GET", f"/v1/runs/{made['id']}/tool-calls"))["data"]
    assert line["status"] == "failed"


async def test_what_is_not_there_is_refused(server: Running) -> None:
    nowhere = str(uuid4())
    workflow_id, _ = await released(server, remembering(nowhere))
    body = {"name": "a", "project_id": await project(server), "workflow_id": workflow_id}
    refused = await server.call("POST", "/v1/apps", 400, json=body)
    assert f"the memory {nowhere}" in refused["error"]["message"]
    agent = {"memory": {"memory_id": nowhere}, "memory_store": {"id": nowhere}}
    body = {"model_id": await server.model_id(), "agent": agent}
    refused = await server.call("POST", "/v1/conversations", 400, json=body)
    assert set(refused["error"]["details"]) == {"agent.memory.memory_id", "agent.memory_store.id"}


async def test_a_deleted_memory_stops_no_run(server: Running) -> None:
    memory_id = await memory(server)
    app = await deployed(server, remembering(memory_id))
    await server.call("DELETE", f"/v1/memories/{memory_id}")
    made = await run(server, app, "Hi", user_id="u", session_id=str(uuid4()))
    assert made["status"] == "completed"

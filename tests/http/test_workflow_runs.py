"""Graphs run: deployed as apps, tried out before they are released, in every way that a run is looked at."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from stoa.gateway import Capabilities, TextDelta
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.apps import deployed, project, released
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer
from tests.support.graphs import flow, node

TOOLS = Capabilities(images=False, tools=True)


@pytest.fixture
async def graph_server(dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([answer("Done.")], TOOLS)
    shelf = ScriptedToolbox(
        ScriptedTool("a"), ScriptedTool("b"), ScriptedTool("bad", [ToolResult("no", "tool_refused")])
    )
    async with serving(dsn, tmp_path, model, toolbox=shelf) as server:
        yield server


async def rows(server: Running, table: str) -> int:
    database = await asyncpg.connect(server.dsn)
    try:
        return int(await database.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await database.close()


async def ran(server: Running, graph: dict[str, Any], **fields: Any) -> dict[str, Any]:
    app = await deployed(server, graph)
    body = {"input": {"input": "Hi"}, **fields}
    return dict((await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"])


async def test_a_graph_is_deployed_runs_and_is_read_everywhere(graph_server: Running) -> None:
    server = graph_server
    graph = flow(
        node("http", "a", "start"),
        node("llm", "b", "a", prompt={"messages": [{"content": "Say {{x}}"}]}, pick={"x": "$.a.output.content"}),
        node("output", "end", "b", pick={"answer": "$.b.output.content", "asked": "$.input"}),
    )
    run = await ran(server, graph)
    assert (run["status"], run["output"]) == ("completed", {"answer": "Done.", "asked": "Hi"})
    events = await server.events(run["id"])
    names = [one["type"] for one in events if one["type"].startswith("workflow.")]
    assert names == ["workflow.node.started", "workflow.node.completed"] * 4
    started = [one["data"] for one in events if one["type"] == "workflow.node.started"]
    assert [one["id"] for one in started] == ["start", "a", "b", "end"]
    assert started[1] == {"id": "a", "object": "workflow.node", "name": "a", "type": "dynamiq.nodes.tools.HttpApiCall"}
    (call,) = [one["data"] for one in events if one["type"] == "agent.tool_call.completed"]
    assert call["source"] == {"id": "a", "name": "a", "type": "dynamiq.nodes.tools.HttpApiCall"}
    terminal = events[-1]["data"]
    assert terminal["result"] == run["output"]
    assert orjson.loads(terminal["output"]) == run["output"]
    (line,) = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
    assert (line["name"], line["status"], line["times"]) == ("a", "completed", 1)
    shown = (await server.call("GET", f"/v1/runs/{run['id']}"))["data"]
    assert shown["result"] == run["output"]
    assert shown["usage"]["total_tokens"] > 0
    assert await rows(server, "run_nodes") == 0


async def test_a_chat_with_a_graph_shows_its_text(graph_server: Running) -> None:
    server = graph_server
    app = await deployed(server, flow(node("agent", "a", "start", memory=True)))
    conversation = (await server.call("POST", "/v1/conversations", 201, json={"app_id": app["id"]}))["data"]
    for _ in range(2):
        assert (await server.ask(conversation["id"]))["output"] == "Done."
    assert len(server.model.requests[-1].messages) == 3, "with memory, the agent reads what was said before"
    messages = (await server.call("GET", f"/v1/conversations/{conversation['id']}/messages"))["data"]
    assert messages[-1]["content"][0]["text"] == "Done."


async def test_a_failed_node_fails_the_run_by_name(graph_server: Running) -> None:
    run = await ran(graph_server, flow(node("http", "bad", "start"), node("http", "a", "bad")))
    assert (run["status"], run["error"]["code"]) == ("failed", "tool_refused")
    assert "The node 'bad' failed: no" in run["error"]["message"]
    skipped = [one["data"] for one in await graph_server.events(run["id"]) if one["type"] == "workflow.node.skipped"]
    assert [(one["id"], one["reason"]) for one in skipped] == [("a", "bad failed"), ("end", "a was skipped")]


async def test_a_paused_graph_goes_on_with_the_answer(graph_server: Running) -> None:
    server = graph_server
    graph = flow(node("feedback", "ask", "start", msg_template="Send {{input}}?"), node("http", "a", "ask"))
    run = await ran(server, graph)
    assert run["status"] == "paused"
    (request,) = run["input_requests"]
    assert request["prompt"] == "Send Hi?"
    body = {"type": "human_feedback", "data": {"request_id": request["id"], "feedback": "yes"}}
    await server.call("POST", f"/v1/runs/{run['id']}/input", json=body)
    ended = await server.status(run["id"], "completed")
    assert ended["result"] == {"content": "done"}
    outputs = {one["data"]["id"]: one["data"]["output"] for one in await server.events(run["id"])
               if one["type"] == "workflow.node.completed"}  # fmt: skip
    assert outputs["ask"] == {"content": "yes"}


async def test_a_cancel_ends_parallel_nodes_and_keeps_the_bill(dsn: str, tmp_path: Path) -> None:
    gate = asyncio.Event()
    tool = ScriptedTool("a", gate=gate)
    model = ScriptedModel([[[TextDelta("I")], asyncio.Event()]], TOOLS)
    graph = flow(node("http", "a", "start"), node("llm", "b", "start"), node("output", "end", "a", "b"))
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool)) as server:
        app = await deployed(server, graph)
        body = {"input": {"input": "Hi"}, "background": True}
        run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", 202, json=body))["data"]
        async with asyncio.timeout(10):
            while not (tool.open and model.open):
                await asyncio.sleep(0.01)
        assert await server.call("POST", f"/v1/runs/{run['id']}/cancel") == {"message": "canceled"}
        ended = await server.status(run["id"], "canceled")
        assert (tool.open, model.open) == (0, 0)
        assert ended["usage"]["completion_tokens"] > 0
        (line,) = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
        assert line["status"] == "unknown"
        assert await rows(server, "run_nodes") == 0


async def test_what_the_project_lacks_is_refused_where_it_is_deployed(graph_server: Running) -> None:
    server = graph_server
    base = "01890a5d-ac96-774b-bcce-b302099a8057"
    graph = flow(node("http", "nothing", "start"), node("search", "s", "nothing", knowledgebase_id=base))
    workflow_id, _ = await released(server, graph)
    body = {"name": "App", "project_id": await project(server), "workflow_id": workflow_id}
    details = (await server.call("POST", "/v1/apps", 400, json=body))["error"]["details"]
    assert "the tool 'nothing'" in details["flow.nodes.nothing"]
    assert base in details["flow.nodes.s"]
    models = flow(node("llm", "a", "start") | {"model": "no/such"})
    workflow_id, _ = await released(server, models)
    details = (await server.call("POST", "/v1/apps", 400, json=body | {"workflow_id": workflow_id}))["error"]["details"]
    assert "no/such" in details["flow.nodes.a.model"]


async def test_a_flow_is_validated_with_what_is_probably_not_meant(graph_server: Running) -> None:
    server = graph_server
    workflow_id, _ = await released(server)
    url = f"/v1/workflows/{workflow_id}/validate"
    assert (await server.call("POST", url, json={}))["data"] == {"valid": True, "problems": {}, "warnings": []}
    fork = node("choice", "fork", "start", options=[{"id": "x"}, {"id": "y"}])
    both = node("http", "a", {"node": "fork", "option": "x"})
    never = node("http", "b", "a", {"node": "fork", "option": "y"})
    verdict = (await server.call("POST", url, json={"flow": flow(fork, both, never)}))["data"]
    assert verdict["valid"]
    assert [one["node"] for one in verdict["warnings"]] == ["b"]
    wrong = flow({"id": "p", "type": "dynamiq.nodes.agent.Agnt"})
    verdict = (await server.call("POST", url, json={"flow": wrong}))["data"]
    assert not verdict["valid"]
    assert "did you mean dynamiq.nodes.agents.Agent?" in verdict["problems"]["flow.nodes[1].type"]


async def test_versions_are_compared_by_node(graph_server: Running) -> None:
    server = graph_server
    workflow_id, first = await released(server, flow(node("http", "a", "start")))
    changed = flow(node("http", "a", "start", handling={"max_retries": 2}), node("http", "b", "a"))
    sent = {"name": "two", "flow": changed}
    second = (await server.call("POST", f"/v1/workflows/{workflow_id}/release", 201, json=sent))["data"]["id"]
    found = (await server.call("GET", f"/v1/workflows/{workflow_id}/versions/{second}/diff"))["data"]
    assert {(one["path"], one["change"]) for one in found} == {
        ("nodes.a.error_handling", "added"),
        ("nodes.end.depends", "changed"),
        ("nodes.b", "added"),
    }
    back = await server.call("GET", f"/v1/workflows/{workflow_id}/versions/{first}/diff?against={second}")
    assert ("nodes.b", "removed") in {(one["path"], one["change"]) for one in back["data"]}


async def test_a_flow_is_tried_out_before_it_is_released(graph_server: Running) -> None:
    server = graph_server
    graph = flow(node("http", "a", "start"), node("llm", "b", "a"))
    form = {
        "project_id": await project(server),
        "flow": orjson.dumps(graph).decode(),
        "input": '{"input": "Hi"}',
        "stream": "false",
        "dry_run": "true",
        "last_node_output": "true",
    }
    parts = {name: (None, value) for name, value in form.items()}
    run = (await server.call("POST", "/v1/workflows/test", files=parts))["data"]
    assert (run["status"], run["result"]) == ("completed", {"content": "Done."})
    assert len(server.model.requests) == 1
    streamed = await server.client.post("/v1/workflows/test", files={**parts, "stream": (None, "true")})
    assert "event: workflow.node.completed" in streamed.text
    assert "event: run.completed" in streamed.text
    short = {"flow": {"agent": {"model": "stoa-extractive"}}, "input": {"question": "Why?"}}
    assert (await server.call("POST", "/v1/workflows/test", json=short))["data"]["output"] == "Done."
    refused = await server.call("POST", "/v1/workflows/test", 400, json={"flow": {"nodes": []}, "input": {}})
    assert "flow.nodes" in refused["error"]["details"]
    await server.call("POST", "/v1/workflows/test", 415, data=form)
    once = {"Idempotency-Key": "t-1"}
    twice = [(await server.call("POST", "/v1/workflows/test", json=short, headers=once))["data"] for _ in range(2)]
    assert twice[0]["id"] == twice[1]["id"]

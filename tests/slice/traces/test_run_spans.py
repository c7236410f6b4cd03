"""Runs of this server as traces: agents with subagents and tools, graphs of nodes."""

from pathlib import Path
from typing import Any

from stoa.gateway import Capabilities
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.graphs import flow, node

TOOLS = Capabilities(images=False, tools=True, context_tokens=8_000)


class Parts(ScriptedModel):
    """Answers subagents by their brief, the agent by its turn."""

    def stream(self, request: Any) -> Any:
        first = request.messages[0].parts[0].text
        if first.startswith("Part"):
            self.scripts = [answer("Part ", "done")]
        elif len(request.messages) == 1:
            parts = [("delegate", f'{{"brief": "Part {number}"}}') for number in ("one", "two")]
            self.scripts = [calling(*parts, ("look", "{}"), ("nowhere", "{}"), say="Let me see.")]
        else:
            self.scripts = [answer("All ", "in all.")]
        return super().stream(request)


async def trace_of(server: Running, run_id: str) -> list[dict[str, Any]]:
    return list((await server.call("GET", f"/v1/traces/{run_id}"))["data"]["runs"])


async def test_an_agent_with_subagents_and_tools(dsn: str, tmp_path: Path) -> None:
    look = ScriptedTool("look", [ToolResult("Six.")])
    async with serving(dsn, tmp_path, Parts([], TOOLS), toolbox=ScriptedToolbox(look)) as server:
        conversation = await server.conversation(agent={"tools": ["look"]})
        run = await server.ask(conversation, "Do it", subagents_enabled=True)
        assert run["output"].endswith("All in all.")
        spans = await trace_of(server, run["id"])
        root, by_id = spans[0], {one["id"]: one for one in spans}
        subagents = [one for one in spans if one["id"].startswith("agent-")]
        assert [one["input"] for one in subagents] == ["Part one", "Part two"]
        assert {one["status"] for one in spans if one["name"] != "nowhere"} == {"succeeded"}
        models = [one for one in spans if one["id"].startswith("llm-")]
        assert sorted(one["parent_run_id"] for one in models) == sorted(
            [root["id"], root["id"], *(one["id"] for one in subagents)]
        )
        assert sum(one["prompt_tokens"] for one in models) == run["usage"]["prompt_tokens"]
        search = next(one for one in spans if one["name"] == "look")
        assert (search["output"], search["status"]) == ("Six.", "succeeded")
        nowhere = next(one for one in spans if one["name"] == "nowhere")
        assert (nowhere["error"]["code"], nowhere["status"]) == ("tool_unknown", "failed"), "it is not in the ledger"
        # From any event to its span, and back.
        for event in await server.events(run["id"]):
            found = await server.call("GET", f"/v1/traces/{run['id']}", params={"sequence": event["sequence"]})
            path = found["data"]["runs"]
            assert path[0]["id"] == root["id"]
            inner = by_id[path[-1]["id"]]["metadata"]
            assert inner["first_sequence"] <= event["sequence"] <= inner["last_sequence"]
            if event["type"] == "agent.response.delta":
                assert path[-1]["id"].startswith("llm-")
                if "source" in event["data"]:
                    assert path[-2]["id"] == f"agent-{event['data']['source']['id']}"


async def test_a_graph_of_nodes(dsn: str, tmp_path: Path) -> None:
    model = ScriptedModel([answer("Done.")], TOOLS)
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(ScriptedTool("a"))) as server:
        graph = flow(
            node("http", "a", "start"),
            node("llm", "b", "a", prompt={"messages": [{"content": "Say {{x}}"}]}, pick={"x": "$.a.output.content"}),
            node("output", "end", "b", pick={"answer": "$.b.output.content"}),
        )
        app = await deployed(server, graph)
        body = {"input": {"input": "Hi"}}
        run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"]
        spans = await trace_of(server, run["id"])
        names = {one["id"]: one.get("parent_run_id") for one in spans}
        nodes = [one["id"] for one in spans if one["id"].startswith("node-")]
        assert nodes == ["node-start", "node-a", "node-b", "node-end"]
        tool = next(one for one in names if one.startswith("tool-"))
        call = next(one for one in names if one.startswith("llm-"))
        assert (names[tool], names[call], names["node-a"]) == ("node-a", "node-b", run["id"])
        # The app's own list has it, and it bears the app's name.
        listed = (await server.call("GET", f"/v1/apps/{app['id']}/traces"))["data"]
        assert [(one["id"], one["name"]) for one in listed] == [(run["id"], app["name"])]
        await server.call("GET", f"/v1/apps/{app['id']}/traces/{run['id']}")
        await server.call("GET", f"/v1/apps/{app['id']}/traces/nothing", 404)
        await server.call("GET", "/v1/apps/00000000-0000-7000-8000-000000000000/traces", 404)

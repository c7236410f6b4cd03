"""What becomes of the runs of a key that is revoked or expires, by the operator's policy."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from stoa.gateway import Capabilities
from tests.support.apps import deployed
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling, until
from tests.support.graphs import flow, node
from tests.support.running import Running, serving

Serve = Callable[..., AbstractAsyncContextManager[Running]]
AGENT = {"tools": ["effect"]}


@pytest.fixture
def serve(dsn: str, tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def made(tool: ScriptedTool, *scripts: Any, **settings: Any) -> AsyncGenerator[Running]:
        model = ScriptedModel(list(scripts), Capabilities(images=False, tools=True, context_tokens=8_000))
        async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool), **settings) as server:
            yield server

    return made


async def begun(server: Running, **fields: Any) -> tuple[str, str]:
    """A run in the background, begun with a key of its own; gives that key's id and the run's."""
    key = (await server.call("POST", "/v1/access-keys", 201, json={"name": "short-lived"}))["data"]
    conversation = fields.pop("conversation", None) or await server.conversation(agent=AGENT)
    body = {"content": "Go.", "background": True, **fields}
    path, headers = f"/v3/conversations/{conversation}/messages", {"Authorization": f"Bearer {key['key']}"}
    run = (await server.call("POST", path, 202, json=body, headers=headers))["data"]
    return key["id"], run["id"]


def failed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["data"]["error"] for event in events if event["type"] == "agent.tool_call.failed"]


async def test_a_run_of_a_revoked_key_answers_without_further_tools(serve: Serve) -> None:
    tool = ScriptedTool("effect", gate=asyncio.Event())
    both = calling(("effect", "{}")), calling(("effect", "{}"), ("delegate", '{"brief": "More."}'))
    async with serve(tool, *both, answer("That is all.")) as server:
        key, run_id = await begun(server, subagents_enabled=True)
        await until(lambda: tool.open == 1)
        await server.call("DELETE", f"/v1/access-keys/{key}")
        assert tool.gate is not None
        tool.gate.set()
        run = await server.status(run_id, "completed", "failed", "canceled")
        assert (run["status"], run["output"]) == ("completed", "That is all."), run
        assert len(tool.made) == 1, "the call that was under way, and no other"
        refused = failed(await server.events(run_id))
        assert [error["code"] for error in refused] == ["key_revoked"] * 2
        assert all("was not made" in error["message"] for error in refused)
        offered = [bool(request.tools) for request in server.model.requests]
        assert offered == [True, True, False], "after that no tools are offered"
        (line,) = (await server.call("GET", f"/v1/runs/{run_id}/tool-calls"))["data"]
        assert line["status"] == "completed"


async def test_a_run_that_waits_for_an_approval_continues_when_its_key_expires(serve: Serve) -> None:
    tool = ScriptedTool("effect", approval=True)
    async with serve(tool, calling(("effect", "{}")), answer("Without it.")) as server:
        key, run_id = await begun(server)
        (request,) = (await server.status(run_id, "paused"))["input_requests"]
        database = await asyncpg.connect(server.dsn)
        await database.execute("UPDATE access_keys SET expires_at = now() WHERE id = $1", UUID(key))
        await database.close()
        run = await server.status(run_id, "completed", "failed")
        assert (run["status"], run["output"]) == ("completed", "Without it.")
        assert [error["code"] for error in failed(await server.events(run_id))] == ["key_revoked"]
        late = {"type": "approval", "data": {"request_id": request["id"], "approved": True}}
        await server.call("POST", f"/v1/runs/{run_id}/input", 400, json=late)
        assert not tool.made


async def test_an_approval_by_another_key_does_not_stand_in_for_it(serve: Serve) -> None:
    tool = ScriptedTool("effect", approval=True)
    async with serve(tool, calling(("effect", "{}")), answer("Without it.")) as server:
        key, run_id = await begun(server)
        (request,) = (await server.status(run_id, "paused"))["input_requests"]
        await server.call("DELETE", f"/v1/access-keys/{key}")
        allowed = {"type": "approval", "data": {"request_id": request["id"], "approved": True}}
        await server.client.post(f"/v1/runs/{run_id}/input", json=allowed)  # 400 where the run went on meanwhile.
        assert (await server.status(run_id, "completed", "failed"))["output"] == "Without it."
        assert not tool.made


async def test_the_policy_cancel_ends_all_of_them(serve: Serve) -> None:
    """One at work, one that waits for its turn, one that waits for a person; nobody else's."""
    tool = ScriptedTool("effect", approval=True)
    held = asyncio.Event()
    async with serve(
        tool, calling(("effect", "{}")), [held, *answer("Late.")], runs_of_revoked_keys="cancel"
    ) as server:
        key, paused = await begun(server)
        await server.status(paused, "paused")
        conversation = await server.conversation()
        _, other = await begun(server)
        owner, working = await begun(server, conversation=conversation)
        await until(lambda: server.model.open == 2)
        body = {"content": "Next.", "background": True, "on_busy": "queue"}
        queued = (await server.call("POST", f"/v3/conversations/{conversation}/messages", 202, json=body))["data"]["id"]
        await server.call("DELETE", f"/v1/access-keys/{key}")
        await server.call("DELETE", f"/v1/access-keys/{owner}")
        for run_id in (paused, working):
            await server.status(run_id, "canceled")
            assert (await server.events(run_id))[-1]["data"]["reason"] == "key_revoked"
        held.set()
        for run_id in (other, queued):
            assert (await server.status(run_id, "completed", "failed"))["status"] == "completed"
        assert not tool.made


async def test_the_policy_finish_changes_nothing(serve: Serve) -> None:
    tool = ScriptedTool("effect", gate=asyncio.Event())
    script = calling(("effect", "{}")), calling(("effect", "{}")), answer("Done.")
    async with serve(tool, *script, runs_of_revoked_keys="finish") as server:
        key, run_id = await begun(server)
        await until(lambda: tool.open == 1)
        await server.call("DELETE", f"/v1/access-keys/{key}")
        assert tool.gate is not None
        tool.gate.set()
        assert (await server.status(run_id, "completed", "failed"))["output"] == "Done."
        assert len(tool.made) == 2


async def test_a_graph_calls_no_further_tool(dsn: str, tmp_path: Path) -> None:
    """The node that was to call it fails and says why; what the graph does about a failed node, it does about this."""
    first, second = ScriptedTool("a", gate=asyncio.Event()), ScriptedTool("b")
    graph = flow(
        node("http", "a", "start"),
        node("http", "b", "a"),
        node("output", "end", "b", pick={"answer": "$.b.output.content"}),
    )
    async with serving(dsn, tmp_path, ScriptedModel(), toolbox=ScriptedToolbox(first, second)) as server:
        app = await deployed(server, graph)
        key = (await server.call("POST", "/v1/access-keys", 201, json={"name": "short-lived"}))["data"]
        body, headers = {"input": {"input": "Hi"}, "background": True}, {"Authorization": f"Bearer {key['key']}"}
        run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", 202, json=body, headers=headers))["data"]
        await until(lambda: first.open == 1)
        await server.call("DELETE", f"/v1/access-keys/{key['id']}")
        assert first.gate is not None
        first.gate.set()
        run = await server.status(run["id"], "completed", "failed", "canceled")
        assert run["status"] == "failed", run
        assert (len(first.made), len(second.made)) == (1, 0)
        nodes = [one["data"] for one in await server.events(run["id"]) if one["type"] == "workflow.node.failed"]
        assert [(one["id"], one["error"]["code"]) for one in nodes] == [("b", "key_revoked")], nodes

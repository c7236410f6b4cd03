"""What a later model reads of a call that was under way when its run ended: never that it was not made, once it had
begun."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stoa.db import migrations
from stoa.gateway import Capabilities, ModelError, ModelRequest, ToolCallPart, ToolResultPart
from stoa.runs.agent.checkpoint import NOT_MADE, UNKNOWN
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling, until

Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(dsn: str, tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def made(*tools: ScriptedTool, scripts: list[Any]) -> AsyncGenerator[Running]:
        model = ScriptedModel(scripts, Capabilities(images=True, tools=True, context_tokens=8_000))
        async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(*tools)) as server:
            yield server

    return made


async def send(server: Running, conversation: str, **fields: Any) -> str:
    body = {"content": "Pay Ada 10.", "background": True, **fields}
    return str((await server.call("POST", f"/v3/conversations/{conversation}/messages", 202, json=body))["data"]["id"])


def results(request: ModelRequest) -> list[str]:
    return [part.result for message in request.messages for part in message.parts if isinstance(part, ToolResultPart)]


def payer() -> ScriptedTool:
    return ScriptedTool("pay", gate=asyncio.Event())


PAY = [calling(("pay", '{"n": 10}'), say="Paying. "), answer("Let me see.")]


async def test_canceled(serve: Serve) -> None:
    tool = payer()
    async with serve(tool, scripts=PAY) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run_id = await send(server, conversation)
        await until(lambda: tool.open)
        await server.call("POST", f"/v1/runs/{run_id}/cancel")
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [UNKNOWN]
        fork = (await server.call("POST", f"/v1/conversations/{conversation}/fork", 201, json={}))["data"]["id"]
        await server.ask(fork, "And here?")
        assert results(server.model.requests[-1]) == [UNKNOWN]


async def test_interrupted(serve: Serve) -> None:
    tool = payer()
    async with serve(tool, scripts=PAY) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        await send(server, conversation)
        await until(lambda: tool.open)
        await server.ask(conversation, "Is Ada paid?", on_busy="interrupt")
        assert results(server.model.requests[-1]) == [UNKNOWN]


async def test_attempts_exhausted(serve: Serve) -> None:
    tool = payer()
    async with serve(tool, scripts=PAY) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run_id = await send(server, conversation)
        await until(lambda: tool.open)
        connection = await asyncpg.connect(server.dsn)
        # As three dead nodes leave it. This node is fenced off when it saves its next step.
        await connection.execute("UPDATE runs SET attempt = 3, node_id = NULL WHERE id = $1::uuid", run_id)
        await connection.close()
        failed = await server.status(run_id, "failed")
        assert failed["error"]["code"] == "attempts_exhausted"
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [UNKNOWN]


async def test_failed_beside_it(serve: Serve) -> None:
    """One call of a reply brings the run down while another is under way."""
    tool = payer()

    class Broken(ScriptedTool):
        async def call(self, *_: object) -> ToolResult:
            await until(lambda: tool.open)
            raise RuntimeError("a bug of a tool")

    scripts = [calling(("pay", '{"n": 10}'), ("break", "{}")), answer("Let me see.")]
    async with serve(tool, Broken("break"), scripts=scripts) as server:
        conversation = await server.conversation(agent={"tools": ["pay", "break"]})
        assert (await server.ask(conversation))["error"]["code"] == "internal_error"
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [UNKNOWN, UNKNOWN]


async def test_what_had_not_begun_was_not_made(serve: Serve) -> None:
    scripts = [calling(("pay", '{"n": 10}'), ("ask_human", '{"question": "Sure?"}')), answer("Let me see.")]
    async with serve(ScriptedTool("pay", approval=True), scripts=scripts) as server:
        conversation = await server.conversation(agent={"tools": ["pay"], "human_feedback": True})
        run = await server.ask(conversation)
        assert run["status"] == "paused"
        await server.call("POST", f"/v1/runs/{run['id']}/cancel")
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [
            "This call was not made: the run ended while it waited for a person's approval.",
            "The question was asked, and the run ended before anybody answered.",
        ]


async def test_within_a_subagent(serve: Serve) -> None:
    """The parent's call has begun to do things too: what its subagent had made, and what nobody knows of."""
    tool, look = payer(), ScriptedTool("look", [ToolResult("found")])
    scripts = [
        calling(("delegate", '{"brief": "Pay Ada."}')),
        calling(("look", '{"q": 1}'), ("pay", '{"n": 10}')),
        answer("Let me see."),
    ]
    async with serve(tool, look, scripts=scripts) as server:
        conversation = await server.conversation(agent={"tools": ["pay", "look"]})
        run_id = await send(server, conversation, subagents_enabled=True)
        await until(lambda: tool.open and look.made)
        async with asyncio.timeout(10):
            while "completed" not in await statuses(server, run_id):
                await asyncio.sleep(0.01)
        await server.call("POST", f"/v1/runs/{run_id}/cancel")
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [
            (
                'The run ended while a subagent worked on this. Its tool calls: look({"q": 1}): made;'
                ' pay({"n": 10}): nobody knows whether it was made.'
            )
        ]


async def test_a_subagent_that_failed_says_what_it_had_done(serve: Serve) -> None:
    scripts = [
        calling(("delegate", '{"brief": "Pay Ada."}')),
        calling(("pay", '{"n": 10}')),
        [ModelError("model_overloaded", "busy", retryable=True)],
        answer("Paid, it seems."),
    ]
    async with serve(ScriptedTool("pay"), scripts=scripts) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        await server.ask(conversation, subagents_enabled=True)
        assert results(server.model.requests[-1]) == ['The subagent failed: busy Its tool calls: pay({"n": 10}): made.']


async def statuses(server: Running, run_id: str) -> list[str]:
    return [line["status"] for line in (await server.call("GET", f"/v1/runs/{run_id}/tool-calls"))["data"]]


async def test_a_regenerated_answer_knows_the_tool_calls_of_the_first(serve: Serve) -> None:
    tool = payer()
    async with serve(tool, scripts=PAY) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run_id = await send(server, conversation)
        await until(lambda: tool.open)
        await server.call("POST", f"/v1/runs/{run_id}/cancel")
        body = {"stream": False}
        await server.call("POST", f"/v1/conversations/{conversation}/regenerate", json=body)
        told = server.model.requests[-1].instructions or ""
        assert 'pay({"n":10}): nobody knows whether it was made' in told
        await server.ask(conversation, "Is Ada paid?")
        assert server.model.requests[-1].instructions is None, "later messages have nothing to do with it"


async def test_what_an_earlier_release_wrote_is_corrected(serve: Serve) -> None:
    tool = payer()
    async with serve(tool, scripts=PAY) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run_id = await send(server, conversation)
        await until(lambda: tool.open)
        await server.call("POST", f"/v1/runs/{run_id}/cancel")
        migration = (resources.files(migrations) / "0025_functions.sql").read_text("utf-8")
        connection = await asyncpg.connect(server.dsn)
        lie = (
            "UPDATE messages SET turns = replace(turns::text, $1, $2)::jsonb "
            "WHERE turns IS NOT NULL RETURNING turns::text"
        )
        assert NOT_MADE in await connection.fetchval(lie, UNKNOWN, NOT_MADE)
        await connection.execute(migration[migration.index("UPDATE messages m") :])
        old = ("begin_run", "append_events", "bill_run", "end_run")
        kept = await connection.fetchval("SELECT count(*) FROM pg_proc WHERE proname = ANY ($1)", old)
        await connection.close()
        assert kept == 4, "nodes of the release before call them"
        await server.ask(conversation, "Is Ada paid?")
        assert results(server.model.requests[-1]) == [UNKNOWN]


async def test_arguments_are_those_that_were_used(serve: Serve) -> None:
    tool = ScriptedTool("pay", [ToolResult("paid")], approval=True, editable_params=["n"])
    async with serve(tool, scripts=[*PAY, answer("Yes.")]) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run = await server.ask(conversation)
        request = run["input_requests"][0]["id"]
        data = {"request_id": request, "approved": True, "params": {"n": 7}}
        await server.call("POST", f"/v1/runs/{run['id']}/input", json={"type": "approval", "data": data})
        await server.status(run["id"], "completed")
        await server.ask(conversation, "How much?")
        parts = [part for message in server.model.requests[-1].messages for part in message.parts]
        assert [part.arguments for part in parts if isinstance(part, ToolCallPart)] == ['{"n":7}']
        assert NOT_MADE not in results(server.model.requests[-1])

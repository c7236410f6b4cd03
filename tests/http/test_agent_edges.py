"""Where agents come to their edges: what a model reads after something broke in the middle, and what is said when there
is no more room."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import (
    Capabilities,
    Finish,
    ModelError,
    ReasoningDelta,
    TextDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from stoa.settings import Price
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling, until

Serve = Callable[..., AbstractAsyncContextManager[Running]]
PRICES = (Price(model="stoa-*", prompt=1, completion=1),)


@pytest.fixture
def serve(dsn: str, tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def made(*tools: ScriptedTool, scripts: list[Any], context_tokens: int = 8_000) -> AsyncGenerator[Running]:
        model = ScriptedModel(scripts, Capabilities(images=False, tools=True, context_tokens=context_tokens))
        async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(*tools), prices=PRICES) as server:
            yield server

    return made


def pairs(server: Running) -> tuple[list[str], list[str]]:
    """Ids of the calls and of the results that the model was last given to read."""
    parts = [part for message in server.model.requests[-1].messages for part in message.parts]
    return [part.id for part in parts if isinstance(part, ToolCallPart)], [
        part.id for part in parts if isinstance(part, ToolResultPart)
    ]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_a_cost_limit_ends_a_run_clearly(serve: Serve) -> None:
    dear = [*calling(("again", "{}"))[:-1], [Usage(0, 1_000_000), Finish("tool_calls")]]
    async with serve(ScriptedTool("again"), scripts=[dear]) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["again"], "limits": {"cost_usd_max": 1.5}}))
        assert (run["status"], run["error"]["code"], run["usage"]["cost_usd"]) == ("failed", "cost_exhausted", 2.0)
        assert "cost_usd_max is 1.5" in run["error"]["message"]
        assert kinds(await server.events(run["id"]))[-1] == "run.failed"
        assert len(server.model.requests) == 2


async def test_reasoning_is_no_part_of_the_answer(serve: Serve) -> None:
    ended = [Usage(1, 9, reasoning_tokens=5), Finish("stop")]
    thinking = [
        [ReasoningDelta("Let me think. ")],
        [TextDelta("Four.")],
        [ReasoningDelta("Sure?")],
        [TextDelta(" Yes.")],
        ended,
    ]
    async with serve(scripts=[thinking]) as server:
        conversation = await server.conversation()
        run = await server.ask(conversation, "2 + 2?")
        assert (run["output"], run["usage"]["reasoning_tokens"]) == ("Four. Yes.", 5)
        events = await server.events(run["id"])
        said = [(event["type"], event["data"]["delta"]) for event in events if event["type"].endswith(".delta")]
        assert said == [
            ("agent.reasoning.delta", "Let me think. "),
            ("agent.response.delta", "Four."),
            ("agent.reasoning.delta", "Sure?"),
            ("agent.response.delta", " Yes."),
        ]
        await server.ask(conversation, "And 3 + 3?")
        read = [part.text for message in server.model.requests[-1].messages for part in message.parts]
        assert read == ["2 + 2?", "Four. Yes.", "And 3 + 3?"]


async def test_a_history_broken_off_in_a_tool_pairs_calls_with_results(serve: Serve) -> None:
    slow = ScriptedTool("slow", gate=asyncio.Event())
    quick = ScriptedTool("quick", [ToolResult("done at once")])
    async with serve(
        slow, quick, scripts=[calling(("quick", "{}"), ("slow", "{}"), say="Working. "), answer("Fine.")]
    ) as server:
        conversation = await server.conversation(agent={"tools": ["slow", "quick"]})
        run = (
            await server.call(
                "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Go", "background": True}
            )
        )["data"]
        await until(lambda: slow.open and quick.made)
        async with asyncio.timeout(10):
            while "completed" not in [
                line["status"] for line in (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
            ]:
                await asyncio.sleep(0.01)
        await server.call("POST", f"/v1/runs/{run['id']}/cancel")
        await server.ask(conversation, "What happened?")
        calls, results = pairs(server)
        assert (calls, len(calls)) == (results, 2)
        told = [
            part.result
            for message in server.model.requests[-1].messages
            for part in message.parts
            if isinstance(part, ToolResultPart)
        ]
        assert told[0] == "done at once"
        assert told[1] != told[0]
        forked = (await server.call("POST", f"/v1/conversations/{conversation}/fork", 201, json={}))["data"]["id"]
        await server.ask(forked, "And here?")
        assert pairs(server) == (calls, results)


async def test_a_history_that_failed_after_a_tool_pairs_calls_with_results(serve: Serve) -> None:
    broken = [ModelError("model_overloaded", "busy", retryable=True)]
    async with serve(
        ScriptedTool("look", [ToolResult("found")]), scripts=[calling(("look", "{}")), broken, answer("Here.")]
    ) as server:
        conversation = await server.conversation(agent={"tools": ["look"]})
        assert (await server.ask(conversation, "Where?"))["error"]["code"] == "model_overloaded"
        assert (await server.ask(conversation, "Again"))["output"] == "Here."
        calls, results = pairs(server)
        assert (calls, len(calls)) == (results, 1)


async def test_what_outgrows_the_context_is_shortened_visibly(serve: Serve) -> None:
    """Long results of tools first, the oldest first; the last one never. The run goes on, and an event says what was
    done."""
    big = ScriptedTool("read", [ToolResult(f"page {number}: " + "x" * 6_000) for number in range(1, 6)])
    scripts = [calling(("read", "{}"))] * 4 + [answer("All read.")]
    async with serve(big, scripts=scripts, context_tokens=4_000) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["read"]}), "Read it all")
        assert (run["status"], run["output"]) == ("completed", "All read.")
        compacted = [
            event["data"] for event in await server.events(run["id"]) if event["type"] == "agent.context.compacted"
        ]
        assert len(compacted) == 1
        assert compacted[0]["results_shortened"] >= 1
        results = [
            part.result
            for message in server.model.requests[-1].messages
            for part in message.parts
            if isinstance(part, ToolResultPart)
        ]
        assert len(results) == 4
        assert "more characters were left out" in results[0]
        assert len(results[-1]) > 6_000


async def test_messages_older_than_what_is_read_of_a_history_are_counted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoa.runs.context.HISTORY_MESSAGES_MAX", 3)
    async with serve(scripts=[answer("Yes.")]) as server:
        conversation = await server.conversation()
        for number in range(4):
            await server.ask(conversation, f"message {number}")
        events = await server.events((await server.ask(conversation, "Still there?"))["id"])
        compacted = next(event["data"] for event in events if event["type"] == "agent.context.compacted")
        assert [message.parts[0].text for message in server.model.requests[-1].messages] == [
            "message 3",
            "Yes.",
            "Still there?",
        ]
        assert compacted["messages_left_out"] == 6


async def test_a_long_conversation_leaves_its_oldest_messages_out_visibly(serve: Serve) -> None:
    async with serve(scripts=[answer("Yes.")], context_tokens=1_000) as server:
        conversation = await server.conversation()
        for number in range(4):
            await server.ask(conversation, f"message {number} " + "y" * 800)
        events = await server.events((await server.ask(conversation, "Still there?"))["id"])
        compacted = next(event["data"] for event in events if event["type"] == "agent.context.compacted")
        assert compacted["messages_left_out"] >= 1
        request = server.model.requests[-1]
        assert "oldest messages are not shown" in (request.instructions or "")
        assert request.messages[-1].parts[0].text == "Still there?"
        # The model never reads an answer without its question first.
        assert request.messages[0].role == "user"


async def test_an_answer_that_is_never_right_names_the_path(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with serve(scripts=[answer('{"n": "one"}'), answer('{"n": "two"}')]) as server:
        run = await server.ask(await server.conversation(agent={"output_schema": schema}))
        assert (run["status"], run["error"]["code"]) == ("failed", "output_invalid")
        assert "$.n" in run["error"]["message"]
        assert len(server.model.requests) == 2


async def test_a_call_whose_arguments_were_cut_off_is_not_made(serve: Serve) -> None:
    """A reply that reached its token limit before the first argument looks like a call without arguments."""
    cut = [*calling(("look", '{"q": 1}'), ("clear", ""))[:-1], [Usage(20, 10), Finish("length")]]
    half = [*calling(("clear", '{"al'))[:-1], [Usage(20, 10), Finish("length")]]
    look, clear = ScriptedTool("look"), ScriptedTool("clear")
    async with serve(look, clear, scripts=[cut, half, answer("I stop.")]) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["look", "clear"]}))
        assert (run["output"], len(look.made), clear.made) == ("I stop.", 1, [])
        failed = [one["data"] for one in await server.events(run["id"]) if one["type"] == "agent.tool_call.failed"]
        assert [(one["tool"]["name"], one["error"]["code"]) for one in failed] == [("clear", "tool_bad_arguments")] * 2
        parts = [part for message in server.model.requests[-1].messages for part in message.parts]
        told = [part for part in parts if isinstance(part, ToolResultPart)]
        assert [(part.failed, "not made" in part.result) for part in told] == [
            (False, False),
            (True, True),
            (True, True),
        ]


async def test_the_model_sees_what_it_wrote(serve: Serve) -> None:
    """Arguments that are no JSON are shown to it; those with line breaks in their strings are taken."""
    tool = ScriptedTool("look")
    scripts = [calling(("look", '{"q": oops}')), calling(("look", '{"q": "a\nb"}')), answer("Done.")]
    async with serve(tool, scripts=scripts) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["look"]}))
        assert (run["status"], [arguments for arguments, _ in tool.made]) == ("completed", [{"q": "a\nb"}])
        parts = [part for message in server.model.requests[-1].messages for part in message.parts]
        written = [part.arguments for part in parts if isinstance(part, ToolCallPart)]
        assert written == ['{"q": oops}', '{"q": "a\nb"}']

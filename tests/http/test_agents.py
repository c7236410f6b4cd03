"""Agents over HTTP: tools, the ledger, people, subagents, limits, answers of a given shape; what a client sees of
each."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import Capabilities, ModelError
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling, until

Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(dsn: str, tmp_path: Path) -> Serve:
    """A server with these tools and scripts; the model knows tools."""

    @asynccontextmanager
    async def made(
        *tools: ScriptedTool, scripts: list[Any] | None = None, model: ScriptedModel | None = None
    ) -> AsyncGenerator[Running]:
        chosen = model or ScriptedModel(
            scripts or [answer("Done.")], Capabilities(images=True, tools=True, context_tokens=8_000)
        )
        async with serving(dsn, tmp_path, chosen, toolbox=ScriptedToolbox(*tools)) as server:
            yield server

    return made


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["type"] == kind]


async def test_a_tool_call_from_wish_to_answer(serve: Serve) -> None:
    clock = ScriptedTool("clock", [ToolResult("It is noon.")])
    async with serve(
        clock, scripts=[calling(("clock", '{"zone": "UTC"}'), say="Let me look. "), answer("It is noon in UTC.")]
    ) as server:
        conversation = await server.conversation(agent={"instructions": "Be brief.", "tools": ["clock"]})
        run = await server.ask(conversation, "What time is it?")
        assert (run["status"], run["output"]) == ("completed", "Let me look. It is noon in UTC.")
        assert (run["usage"]["prompt_tokens"], run["usage"]["completion_tokens"]) == (32, 11)
        events = await server.events(run["id"])
        assert names(events) == [
            "run.started",
            "agent.response.delta",
            "agent.tool_call.started",
            "agent.tool_call.input.delta",
            "agent.tool_call.input.delta",
            "agent.tool_call.completed",
            "agent.response.delta",
            "run.completed",
        ]
        begun, done = of(events, "agent.tool_call.started")[0], of(events, "agent.tool_call.completed")[0]
        assert done == {**begun, "input": {"zone": "UTC"}, "result": "It is noon.", "iteration": 1}
        assert of(events, "agent.response.delta")[1]["iteration"] == 2
        ledger = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
        assert [(line["id"], line["status"], line["times"], line["result"]) for line in ledger] == [
            (begun["id"], "completed", 1, "It is noon.")
        ]
        assert clock.made[0][1].key == begun["id"]
        # The next run reads the call with its result, and the model is told what it may call.
        server.model.scripts = [answer("You asked for the time.")]
        await server.ask(conversation, "What did I ask?")
        request = server.model.requests[-1]
        assert [message.role for message in request.messages] == ["user", "assistant", "tool", "assistant", "user"]
        assert request.messages[1].parts[1].id == request.messages[2].parts[0].id
        assert (request.instructions, [tool.name for tool in request.tools]) == ("Be brief.", ["clock"])


async def test_calls_of_one_reply_run_at_once(serve: Serve) -> None:
    gate = asyncio.Event()
    tools = [ScriptedTool(name, [ToolResult(f"{name} says hi")], gate=gate) for name in ("one", "two")]
    async with serve(*tools, scripts=[calling(("one", "{}"), ("two", "{}")), answer("Both.")]) as server:
        conversation = await server.conversation(agent={"tools": ["one", "two"]})
        run = (
            await server.call(
                "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Go", "background": True}
            )
        )["data"]
        await until(lambda: all(tool.open for tool in tools))
        gate.set()
        done = await server.status(run["id"], "completed")
        assert done["output"] == "Both."
        assert sorted(data["result"] for data in of(await server.events(run["id"]), "agent.tool_call.completed")) == [
            "one says hi",
            "two says hi",
        ]


async def test_what_goes_wrong_with_a_call_is_told_to_the_model(serve: Serve) -> None:
    broken = ScriptedTool("broken", [ToolResult("The service answered 500.", "tool_failed")])
    wishes = calling(("broken", "{}"), ("missing", "{}"), ("broken", "[1, 2"))
    async with serve(broken, scripts=[wishes, answer("It did not work.")]) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["broken"]}))
        assert run["status"] == "completed"
        failed = of(await server.events(run["id"]), "agent.tool_call.failed")
        assert sorted(data["error"]["code"] for data in failed) == ["tool_bad_arguments", "tool_failed", "tool_unknown"]
        results = server.model.requests[-1].messages[-1].parts
        assert [part.failed for part in results] == [True, True, True]
        assert len(broken.made) == 1


async def test_limits_end_a_run_clearly(serve: Serve) -> None:
    async with serve(ScriptedTool("again"), scripts=[calling(("again", "{}"))]) as server:
        for limits, code in (({"iterations_max": 3}, "iterations_exhausted"), ({"tokens_max": 50}, "tokens_exhausted")):
            run = await server.ask(await server.conversation(agent={"tools": ["again"], "limits": limits}))
            assert (run["status"], run["error"]["code"]) == ("failed", code)
            assert next(iter(limits)) in run["error"]["message"]


async def test_answers_of_a_given_shape(serve: Serve) -> None:
    schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"type": "number"}}},
        "required": ["items"],
    }
    async with serve() as server:
        conversation = await server.conversation(agent={"output_schema": schema})
        server.model.scripts = [answer('{"items": [1, "two"]}'), answer('{"items": ', "[1, 2]}")]
        run = await server.ask(conversation)
        assert (run["status"], run["output"]) == ("completed", '{"items": [1, 2]}')
        assert "$.items[1]" in server.model.requests[-1].messages[-1].parts[0].text
        server.model.scripts = [answer("no JSON")]
        run = await server.ask(conversation)
        assert (run["status"], run["error"]["code"]) == ("failed", "output_invalid")
        assert "$ is no JSON" in run["error"]["message"]


async def test_a_question_to_a_person(serve: Serve) -> None:
    async with serve(
        scripts=[
            calling(("ask_human", '{"question": "Which one?", "options": ["red", "blue"]}')),
            answer("Blue it is."),
        ]
    ) as server:
        conversation = await server.conversation(agent={"human_feedback": True})
        run = await server.ask(conversation, "Pick a color")
        assert run["status"] == "paused"
        (request,) = run["input_requests"]
        assert (request["type"], request["prompt"], request["options"]) == (
            "human_feedback",
            "Which one?",
            ["red", "blue"],
        )
        waiting = (await server.call("GET", "/v1/runs?status=awaiting_input"))["data"]
        assert [one["id"] for one in waiting] == [run["id"]]
        path, body = (
            f"/v1/runs/{run['id']}/input",
            {"type": "human_feedback", "data": {"request_id": request["id"], "feedback": "blue"}},
        )
        wrong = await server.call(
            "POST", path, 400, json={"type": "approval", "data": {"request_id": request["id"], "approved": True}}
        )
        assert "human_feedback" in wrong["error"]["details"]["type"]
        assert await server.call("POST", path, json=body) == {"message": "ok"}
        again = await server.call("POST", path, 400, json=body)
        assert "answered already" in again["error"]["message"] or "takes no input" in again["error"]["message"]
        done = await server.status(run["id"], "completed")
        assert (done["output"], done["attempt"], done["input_requests"]) == ("Blue it is.", 1, [])
        events = await server.events(run["id"])
        assert names(events) == [
            "run.started",
            "agent.human_feedback.requested",
            "run.paused",
            "run.resumed",
            "agent.response.delta",
            "run.completed",
        ]
        assert server.model.requests[-1].messages[-1].parts[0].result == "blue"
        late = await server.call("POST", path, 400, json=body)
        assert "completed" in late["error"]["message"]


async def test_approvals(serve: Serve) -> None:
    pay = ScriptedTool("pay", [ToolResult("paid")], approval=True, editable_params=["amount"])
    async with serve(pay, scripts=[calling(("pay", '{"amount": 10, "to": "Ada"}')), answer("Paid.")]) as server:
        conversation = await server.conversation(agent={"tools": ["pay"]})
        run = await server.ask(conversation)
        (request,) = run["input_requests"]
        assert (run["status"], request["params"], request["editable_params"]) == (
            "paused",
            {"amount": 10, "to": "Ada"},
            ["amount"],
        )

        def body(**data: Any) -> dict[str, Any]:
            return {"type": "approval", "data": {"request_id": request["id"], **data}}

        path = f"/v1/runs/{run['id']}/input"
        refused = await server.call("POST", path, 400, json=body(approved=True, params={"to": "Eve"}))
        assert list(refused["error"]["details"]) == ["data.params.to"]
        for impossible in ("NaN", str(2**70), "[" * 300 + "]" * 300, '"\\u0000"', '"\\ud800"', '{"\\u0000": 1}'):
            raw = json.dumps(body(approved=True, params={"amount": "?"})).replace('"?"', impossible)
            refused = await server.call("POST", path, 400, content=raw, headers={"Content-Type": "application/json"})
            assert list(refused["error"]["details"]) == ["data.params.amount"]
        refused = await server.call("POST", path, 400, json=body(approved=False, feedback="no\0"))
        assert list(refused["error"]["details"]) == ["data.feedback"]
        await server.call("POST", path, json=body(approved=True, params={"amount": 7}))
        assert (await server.status(run["id"], "completed"))["output"] == "Paid."
        assert [made for made, _ in pay.made] == [{"amount": 7, "to": "Ada"}]
        # Declined: the call is not made, and the model is told why.
        server.model.scripts += [calling(("pay", '{"amount": 1}')), answer("I did not pay.")]
        run = await server.ask(conversation)
        (request,) = run["input_requests"]
        await server.call("POST", f"/v1/runs/{run['id']}/input", json=body(approved=False, feedback="too expensive"))
        assert (await server.status(run["id"], "completed"))["output"] == "I did not pay."
        assert len(pay.made) == 1
        assert "too expensive" in server.model.requests[-1].messages[-1].parts[0].result


async def test_runs_that_await_input(serve: Serve) -> None:
    """`awaiting_input` is no status: it finds started and paused runs that have an open question, and no others."""
    slow, pay = ScriptedTool("slow", gate=asyncio.Event()), ScriptedTool("pay", approval=True)
    scripts = [calling(("slow", "{}"), ("pay", "{}")), calling(("pay", "{}")), answer("Done.")]
    async with serve(slow, pay, scripts=scripts) as server:

        async def listed(*statuses: str) -> set[str]:
            found = await server.call("GET", "/v1/runs", params=[("status", status) for status in statuses])
            assert found["pagination"]["total_count"] == len(found["data"])
            return {run["id"] for run in found["data"]}

        async def background() -> str:
            conversation = await server.conversation(agent={"tools": ["slow", "pay"]})
            body = {"content": "Go", "background": True}
            path = f"/v3/conversations/{conversation}/messages"
            return str((await server.call("POST", path, 202, json=body))["data"]["id"])

        started = await background()
        async with asyncio.timeout(10):
            while not (run := (await server.call("GET", f"/v1/runs/{started}"))["data"])["input_requests"]:
                await asyncio.sleep(0.01)
        assert run["status"] == "started"
        paused = await background()
        await server.status(paused, "paused")
        completed = (await server.ask(await server.conversation()))["id"]
        assert await listed("awaiting_input") == {started, paused}
        assert await listed("paused") == {paused}
        assert await listed("started") == {started}
        assert await listed("completed", "awaiting_input") == {started, paused, completed}
        assert await listed() == {started, paused, completed}
        data = {"request_id": run["input_requests"][0]["id"], "approved": True}
        await server.call("POST", f"/v1/runs/{started}/input", json={"type": "approval", "data": data})
        assert await listed("awaiting_input") == {paused}
        await server.call("POST", f"/v1/runs/{paused}/cancel")
        assert await listed("awaiting_input") == set()
        slow.gate.set()


async def test_a_paused_run_outlives_its_server_and_is_canceled(serve: Serve) -> None:
    scripts = [calling(("ask_human", '{"question": "Go on?"}'))]
    async with serve(scripts=scripts) as server:
        conversation = await server.conversation(agent={"human_feedback": True})
        first = await server.ask(conversation)
        second = await server.ask(await server.conversation(agent={"human_feedback": True}))
    async with serve(scripts=[answer("Going on.")]) as server:
        assert (await server.call("GET", f"/v1/runs/{first['id']}"))["data"]["status"] == "paused"
        body = {"type": "human_feedback", "data": {"request_id": first["input_requests"][0]["id"], "feedback": "yes"}}
        await server.call("POST", f"/v1/runs/{first['id']}/input", json=body)
        assert (await server.status(first["id"], "completed"))["output"] == "Going on."
        await server.call("POST", f"/v1/runs/{second['id']}/cancel")
        canceled = (await server.call("GET", f"/v1/runs/{second['id']}"))["data"]
        assert (canceled["status"], canceled["input_requests"]) == ("canceled", [])
        assert names(await server.events(second["id"]))[-2:] == ["run.paused", "run.canceled"]
        deleted = await server.call("DELETE", f"/v1/conversations/{conversation}")
        receipt = (await server.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
        assert (receipt["stores"]["input_requests"]["rows"], bool(receipt["verified_at"])) == (1, True)


async def test_a_question_that_nobody_answers_expires(serve: Serve) -> None:
    async with serve(scripts=[calling(("ask_human", '{"question": "Hello?"}')), answer("Nobody there.")]) as server:
        run = await server.ask(
            await server.conversation(agent={"human_feedback": True, "limits": {"input_seconds_max": 1}})
        )
        assert run["status"] == "paused"
        assert (await server.status(run["id"], "completed"))["output"] == "Nobody there."


async def test_subagents_run_in_parallel_and_fail_separately(serve: Serve) -> None:
    delegate = calling(("delegate", '{"brief": "Part one"}'), ("delegate", '{"brief": "Part two"}'))

    class Parts(ScriptedModel):
        """Answers subagents by their brief, the agent by its turn."""

        def stream(self, request: Any) -> Any:
            brief = request.messages[0].parts[0].text
            if brief.startswith("Part one"):
                self.scripts = [answer("Result one")]
            elif brief.startswith("Part two"):
                self.scripts = [[ModelError("model_overloaded", "busy", retryable=True)]]
            else:
                self.scripts = [answer("All in all.") if len(request.messages) > 1 else delegate]
            return super().stream(request)

    async with serve(model=Parts([], Capabilities(images=False, tools=True, context_tokens=8_000))) as server:
        conversation = await server.conversation()
        run = await server.ask(conversation, "Do it", subagents_enabled=True)
        assert (run["status"], run["output"]) == ("completed", "All in all.")
        events = await server.events(run["id"])
        begun, done, failed = (of(events, f"agent.subagent.{kind}") for kind in ("started", "completed", "failed"))
        assert (len(begun), [one["result"] for one in done], failed[0]["error"]["code"]) == (
            2,
            ["Result one"],
            "model_overloaded",
        )
        said = [data for data in of(events, "agent.response.delta") if "source" in data]
        assert {(data["source"]["id"], data["tool_call_id"]) for data in said} == {(done[0]["id"], done[0]["id"])}
        results = server.model.requests[-1].messages[-1].parts
        assert [(part.result, part.failed) for part in results] == [
            ("Result one", False),
            ("The subagent failed: busy", True),
        ]
        # Without the flag there is no such tool.
        await server.ask(conversation, "Alone")
        assert [tool.name for tool in server.model.requests[-1].tools] == []


async def test_a_cancel_in_a_tool_ends_the_call(serve: Serve) -> None:
    slow = ScriptedTool("slow", gate=asyncio.Event())
    async with serve(slow, scripts=[calling(("slow", "{}"), say="Working. "), answer("never")]) as server:
        conversation = await server.conversation(agent={"tools": ["slow"]})
        run = (
            await server.call(
                "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Go", "background": True}
            )
        )["data"]
        await until(lambda: slow.open)
        await server.call("POST", f"/v1/runs/{run['id']}/cancel")
        assert slow.open == 0
        done = (await server.call("GET", f"/v1/runs/{run['id']}"))["data"]
        assert (done["status"], done["output"], done["usage"]["completion_tokens"]) == ("canceled", "Working. ", 10)
        ledger = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
        assert [line["status"] for line in ledger] == ["unknown"]


async def test_a_call_in_doubt_whose_tool_was_deleted_is_not_reported_as_never_made(serve: Serve) -> None:
    slow = ScriptedTool("slow", gate=asyncio.Event())
    async with serve(slow, scripts=[calling(("slow", "{}"))]) as server:
        conversation = await server.conversation(agent={"tools": ["slow"]})
        run = (
            await server.call(
                "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Go", "background": True}
            )
        )["data"]
        await until(lambda: slow.open)
    async with serve(scripts=[answer("Going on.")]) as server:
        assert (await server.status(run["id"], "completed", "paused"))["output"] == "Going on."
        (failed,) = of(await server.events(run["id"]), "agent.tool_call.failed")
        assert (failed["error"]["code"], "Nobody knows" in failed["error"]["message"]) == ("tool_outcome_unknown", True)
        ledger = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
        assert [line["status"] for line in ledger] == ["unknown"]


async def test_agents_that_cannot_be(serve: Serve) -> None:
    async with serve(ScriptedTool("known")) as server:
        model_id = await server.model_id()
        for agent, field in (
            ({"tools": ["unheard_of"]}, "agent.tools[0]"),
            ({"tools": ["known"], "approvals": ["other"]}, "agent.approvals[0]"),
            ({"subagents": [{"name": "a", "description": "x"}, {"name": "a", "description": "y"}]}, "agent.subagents"),
            ({"limits": {"iterations_max": 0}}, "agent.limits.iterations_max"),
            ({"output_schema": {"type": "no such type"}}, "agent.output_schema"),
        ):
            refused = await server.call("POST", "/v1/conversations", 400, json={"model_id": model_id, "agent": agent})
            assert field in next(iter(refused["error"]["details"])), refused
        conversation = await server.conversation(agent={"tools": ["known"]})
        refused = await server.call(
            "POST",
            f"/v3/conversations/{conversation}/messages",
            400,
            json={"content": "Hi", "tools": ["known", "other"]},
        )
        assert list(refused["error"]["details"]) == ["tools[1]"]

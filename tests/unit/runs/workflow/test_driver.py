"""A graph runs: in order and at once, with branches, retries, limits, people, and whatever dies in between."""

import asyncio
from typing import Any

import pytest

from stoa.gateway import Capabilities, Finish, ModelError, TextDelta, Usage
from stoa.runs.agent.steps import Answer, Interrupt, Released, RunStopped
from stoa.tools import ToolResult
from tests.support.doubles import ScriptedModel, ScriptedTool, answer, calling
from tests.support.graphs import GraphRun, flow, node

TOOLS = Capabilities(images=False, tools=True)
pytestmark = pytest.mark.timeout(20)


def saying(*texts: str) -> ScriptedModel:
    return ScriptedModel([answer(text) for text in texts], TOOLS)


def prompt(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]}


async def test_nodes_run_in_order_and_read_one_another() -> None:
    graph = flow(
        node("llm", "draft", "start", prompt=prompt("Write about {{topic}}")),
        node("llm", "check", "draft", prompt=prompt("Check: {{text}}"), pick={"text": "$.draft.output.content"}),
        node("output", "end", "check", "draft", pick={"answer": "$.check.output.content", "topic": "$.topic"}),
    )
    run = await GraphRun(graph, {"topic": "rain"}, saying("It rains.", "Fine.")).drive()
    assert run.workflow.result == {"answer": "Fine.", "topic": "rain"}
    assert run.said("completed") == ["start", "draft", "check", "end"]
    assert [request.messages[-1].parts[0].text for request in run.model.requests] == [
        "Write about rain",
        "Check: It rains.",
    ]
    assert run.model.requests[0].instructions == "Be brief."
    assert run.billed == 2
    assert run.state.cost_usd == pytest.approx(0.002)
    deltas = [one for one in run.events if one.type.name == "RESPONSE_DELTA"]
    assert deltas[0].data["source"]["id"] == "draft"
    assert "tool_call_id" not in deltas[0].data


async def test_an_output_without_a_transformer_gives_what_came_before_it() -> None:
    run = await GraphRun(flow(node("llm", "a", "start")), model=saying("One.")).drive()
    assert (run.workflow.result, run.workflow.text) == ({"content": "One."}, "One.")
    both = flow(node("llm", "a", "start"), node("llm", "b", "start"), node("output", "end", "a", "b"))
    run = await GraphRun(both, model=saying("One.")).drive()
    assert run.workflow.result == {"a": {"content": "One."}, "b": {"content": "One."}}


async def test_independent_nodes_run_at_once_and_join() -> None:
    gate = asyncio.Event()
    tools = [ScriptedTool("a", gate=gate, idempotent=True), ScriptedTool("b", gate=gate, idempotent=True)]
    graph = flow(node("http", "a", "start"), node("http", "b", "start"), node("output", "end", "a", "b"))
    run = GraphRun(graph, tools=tools)
    driven = asyncio.create_task(run.drive())
    async with asyncio.timeout(5):
        while sum(tool.open for tool in tools) < 2:
            await asyncio.sleep(0)
    gate.set()
    await driven
    assert run.workflow.result == {"a": {"content": "done"}, "b": {"content": "done"}}


async def test_a_flow_may_say_how_many_nodes_run_at_once() -> None:
    gate = asyncio.Event()
    tools = [ScriptedTool(name, gate=gate, idempotent=True) for name in "abc"]
    nodes = [node("http", name, "start") for name in "abc"]
    run = GraphRun(flow(*nodes, node("output", "end", "a", "b", "c"), max_node_workers=1), tools=tools)
    driven = asyncio.create_task(run.drive())
    async with asyncio.timeout(5):
        while not any(tool.open for tool in tools):
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(tool.open for tool in tools) == 1
    gate.set()
    await driven
    assert run.said("completed")[-1] == "end"


def forked(hit_policy: str = "first") -> dict[str, Any]:
    options = [
        {"id": "big", "condition": {"variable": "$.n", "operator": "numeric-greater-than", "value": 10}},
        {"id": "even", "condition": {"variable": "$.n", "operator": "numeric-equals", "value": 2, "is_not": True}},
        {"id": "else"},
    ]
    return flow(
        node("choice", "fork", "start", options=options, hit_policy=hit_policy),
        *(node("http", name, {"node": "fork", "option": name}) for name in ("big", "even", "else")),
        node("output", "end", "big", "even", "else", pick={"x": "$.big.output.content || $.even.output.content || no"}),
    )


@pytest.mark.parametrize(
    ("n", "policy", "ran", "x"),
    [
        (11, "first", ["big"], "done"),
        (3, "first", ["even"], "done"),
        (2, "first", ["else"], "no"),
        (11, "all", ["big", "even"], "done"),
        (2, "all", ["else"], "no"),
    ],
)
async def test_a_choice_takes_its_options_and_the_branches_join(n: int, policy: str, ran: list[str], x: str) -> None:
    tools = [ScriptedTool(name) for name in ("big", "even", "else")]
    run = await GraphRun(forked(policy), {"n": n}, tools=tools).drive()
    assert [tool.name for tool in tools if tool.made] == ran
    assert run.workflow.result == {"x": x}
    assert set(run.said("skipped")) == {"big", "even", "else"} - set(ran)
    reasons = [one.data["reason"] for one in run.events if one.type.name == "NODE_SKIPPED"]
    assert all("fork did not take the option" in reason for reason in reasons)


async def test_a_branch_with_a_step_in_between_joins_too() -> None:
    """The merge is the direct target of one branch and stands behind a step of the other."""
    options = [{"id": "a", "condition": {"variable": "$.go", "operator": "string-equals", "value": "a"}}, {"id": "b"}]
    graph = flow(
        node("choice", "fork", "start", options=options),
        node("http", "step", {"node": "fork", "option": "a"}),
        node("http", "other", {"node": "fork", "option": "b"}),
        node("http", "far", "other"),
        node("output", "end", "step", "far", "start"),
    )
    for go, seen in (("a", "step"), ("b", "far")):
        tools = [ScriptedTool(name) for name in ("step", "other", "far")]
        run = await GraphRun(graph, {"go": go}, tools=tools).drive()
        assert seen in run.workflow.result
        assert run.said("completed")[-1] == "end"


async def test_where_every_branch_is_skipped_the_output_says_so() -> None:
    options = [{"id": "a", "condition": {"variable": "$.go", "operator": "string-equals", "value": "a"}}]
    graph = flow(
        node("choice", "fork", "start", options=options),
        node("http", "step", {"node": "fork", "option": "a"}),
        node("output", "end", "step", "start"),
    )
    run = await GraphRun(graph, {"go": "x"}, tools=[ScriptedTool("step")]).drive()
    assert run.workflow.result is None
    assert run.said("skipped") == ["step", "end"]


async def test_a_condition_that_cannot_be_judged_fails_and_is_not_taken() -> None:
    options = [{"id": "a", "condition": {"variable": "$.n", "operator": "numeric-greater-than", "value": 1}}]
    graph = flow(node("choice", "fork", "start", options=options), node("http", "a", {"node": "fork", "option": "a"}))
    tool = ScriptedTool("a")
    with pytest.raises(RunStopped, match=r"fork.*have no order"):
        await GraphRun(graph, {"n": "many"}, tools=[tool]).drive()
    assert not tool.made


async def test_a_failure_skips_what_depends_on_it_and_fails_the_run() -> None:
    graph = flow(node("http", "a", "start"), node("http", "b", "a"), node("http", "c", "start"),
                 node("output", "end", "b", "c"))  # fmt: skip
    tools = [ScriptedTool("a", [ToolResult("no", "tool_refused")]), ScriptedTool("b"), ScriptedTool("c")]
    run = GraphRun(graph, tools=tools)
    with pytest.raises(RunStopped, match="The node 'a' failed: no") as stopped:
        await run.drive()
    assert stopped.value.code == "tool_refused"
    assert run.said("failed") == ["a"]
    assert run.said("skipped") == ["b", "end"]
    assert "c" in run.said("completed"), "an independent branch is not torn"


async def test_behavior_return_lets_the_others_go_on() -> None:
    graph = flow(
        node("http", "a", "start", handling={"behavior": "return"}),
        node("output", "end", "a", pick={"why": "$.a.error.message", "status": "$.a.status"}),
    )
    run = await GraphRun(graph, tools=[ScriptedTool("a", [ToolResult("no", "tool_refused")])]).drive()
    assert run.workflow.result == {"why": "no", "status": "failure"}


async def test_an_error_edge_takes_a_failure_over() -> None:
    graph = flow(
        node("http", "a", "start"),
        node("http", "rescue", {"node": "a", "trigger": "failure"}),
        node("output", "end", "a", "rescue", pick={"x": "$.a.output.content || $.rescue.output.content"}),
    )
    for results, x, calls in (([ToolResult("no", "tool_failed")], "done", 1), ([ToolResult("fine")], "fine", 0)):
        rescue = ScriptedTool("rescue")
        run = await GraphRun(graph, tools=[ScriptedTool("a", results), rescue]).drive()
        assert (run.workflow.result, len(rescue.made)) == ({"x": x}, calls)


async def test_retries_wait_longer_and_longer_and_are_new_calls() -> None:
    handling = {"max_retries": 3, "retry_interval_seconds": 2, "backoff_rate": 3}
    results = [ToolResult("busy", "tool_failed"), ToolResult("busy", "tool_failed"), ToolResult("fine")]
    tool = ScriptedTool("a", results)
    run = await GraphRun(flow(node("http", "a", "start", handling=handling)), tools=[tool]).drive()
    assert run.clock.slept == [2, 6]
    assert len({call.key for _, call in tool.made}) == 3
    again = [one.data for one in run.events if one.type.name == "NODE_STARTED" and "attempt" in one.data]
    assert [one["attempt"] for one in again] == [2, 3]
    assert again[0]["error"] == {"code": "tool_failed", "message": "busy"}
    assert run.output("a") == {"content": "fine"}


@pytest.mark.parametrize(("idempotent", "calls"), [(True, 2), (False, 1)])
async def test_a_call_of_unknown_outcome_is_repeated_only_where_that_is_safe(idempotent: bool, calls: int) -> None:
    results = [ToolResult("no answer", "tool_unreachable"), ToolResult("fine")]
    tool = ScriptedTool("a", results, idempotent=idempotent)
    run = GraphRun(flow(node("http", "a", "start", handling={"max_retries": 2})), tools=[tool])
    if idempotent:
        await run.drive()
        assert len({call.key for _, call in tool.made}) == 1, "the service does the work once"
    else:
        with pytest.raises(RunStopped):
            await run.drive()
    assert len(tool.made) == calls


async def test_a_node_that_takes_too_long_fails_and_its_call_is_closed() -> None:
    tool = ScriptedTool("a", gate=asyncio.Event())
    run = GraphRun(flow(node("http", "a", "start", handling={"timeout_seconds": 0.05, "max_retries": 5})), tools=[tool])
    with pytest.raises(RunStopped, match="nobody knows whether its call was made") as stopped:
        await run.drive()
    assert (stopped.value.code, tool.open, len(tool.made)) == ("node_timeout", 0, 1)


async def test_a_model_that_takes_too_long_is_asked_again_and_both_are_billed() -> None:
    slow = [[TextDelta("Once")], asyncio.Event()]
    model = ScriptedModel([slow, answer("Twice.")], TOOLS)
    handling = {"timeout_seconds": 0.05, "max_retries": 1}
    run = await GraphRun(flow(node("llm", "a", "start", handling=handling)), model=model).drive()
    assert run.output("a") == {"content": "Twice."}
    assert run.billed == 2
    assert model.open == 0


async def test_an_agent_that_tries_again_makes_no_call_again() -> None:
    busy = ModelError("model_overloaded", "Busy.", retryable=True)
    model = ScriptedModel([calling(("t", "{}")), [busy], answer("Done.")], TOOLS)
    tool = ScriptedTool("t")
    tools = [{"type": "dynamiq.nodes.tools.HttpApiCall", "name": "t"}]
    run = await GraphRun(flow(node("agent", "a", "start", tools=tools, handling={"max_retries": 1})),
                         model=model, tools=[tool]).drive()  # fmt: skip
    assert (run.output("a"), len(tool.made)) == ({"content": "Done."}, 1)


async def test_permanent_failures_are_not_retried() -> None:
    model = ScriptedModel([[ModelError("model_refused_key", "No key.", retryable=False)]], TOOLS)
    run = GraphRun(flow(node("llm", "a", "start", handling={"max_retries": 5})), model=model)
    with pytest.raises(RunStopped):
        await run.drive()
    assert (len(model.requests), run.clock.slept) == (1, [])


def mapped(**fields: Any) -> dict[str, Any]:
    inner = {"type": "dynamiq.nodes.tools.HttpApiCall", "name": "t"}
    return flow(node("map", "m", "start", node=inner, pick={"input": "$.items"}, **fields))


class Echo(ScriptedTool):
    """Answers with what it was asked; some of it fails, and later items end first."""

    async def call(self, arguments: Any, call: Any) -> ToolResult:
        self.made.append((dict(arguments), call))
        for _ in range(20 - int(arguments["input"])):
            await asyncio.sleep(0)
        failed = arguments["input"] in (2, 7)
        return ToolResult("no", "tool_refused") if failed else ToolResult(str(arguments["input"]))


async def test_a_map_keeps_the_order_and_gives_null_for_what_failed() -> None:
    run = await GraphRun(mapped(max_workers=4), {"items": list(range(10))}, tools=[Echo("t")]).drive()
    wanted = [None if n in (2, 7) else {"content": str(n)} for n in range(10)]
    assert run.output("m") == {"output": wanted}
    ends = [one.data for one in run.events if one.type.name == "NODE_COMPLETED" and one.data.get("parent_id") == "m"]
    assert sorted(one["item"] for one in ends) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert len({call.key for _, call in run.tools[0].made}) == 10


async def test_a_map_may_fail_with_its_first_item() -> None:
    tool = Echo("t")
    with pytest.raises(RunStopped, match="item 2 failed: no"):
        await GraphRun(mapped(behavior="raise"), {"items": list(range(10))}, tools=[tool]).drive()
    assert len(tool.made) == 3


@pytest.mark.parametrize("items", [[], {"a": 1}, "abc", None, [1] * 1_001])
async def test_a_map_takes_lists_only(items: Any) -> None:
    run = GraphRun(mapped(), {"items": items}, tools=[Echo("t")])
    if items == []:
        await run.drive()
        assert run.output("m") == {"output": []}
    else:
        with pytest.raises(RunStopped, match="its field input"):
            await run.drive()


async def test_a_map_dies_between_items_and_repeats_none() -> None:
    tool = Echo("t")
    run = GraphRun(mapped(max_workers=1), {"items": [0, 1, 3, 4]}, tools=[tool], on_step=dying_after("m/1"))
    with pytest.raises(Dead):
        await run.drive()
    after = await run.died().drive()
    assert after.output("m") == {"output": [{"content": str(n)} for n in (0, 1, 3, 4)]}
    assert [arguments["input"] for arguments, _ in tool.made] == [0, 1, 3, 4]


class Dead(Exception):
    pass


def dying_after(path: str) -> Any:
    def on_step(run: GraphRun, _: Any) -> None:
        if run.rows.get(path, {}).get("status") == "completed":
            raise Dead

    return on_step


async def test_death_between_any_two_steps_runs_no_node_twice() -> None:
    """Of each checkpoint: another server goes on from what was stored, and each effect happens once."""
    names = ("a", "b", "c", "d")
    graph = flow(node("http", "a", "start"), node("http", "b", "start"), node("http", "c", "a", "b"),
                 node("llm", "e", "c"), node("http", "d", "e"))  # fmt: skip
    whole = await GraphRun(graph, model=saying("x"), tools=[ScriptedTool(name) for name in names]).drive()
    died = 0
    for dies_at in range(1, 60):

        def on_step(run: GraphRun, _: Any, dies_at: int = dies_at) -> None:
            if run.checkpoints == dies_at:
                raise Dead

        tools = [ScriptedTool(name, idempotent=True) for name in names]
        run = GraphRun(graph, model=saying("x"), tools=tools, on_step=on_step)
        try:
            await run.drive()
            break
        except Dead:
            died += 1
        after = await run.died().drive()
        assert after.workflow.result == whole.workflow.result
        for tool in tools:
            assert len({call.key for _, call in tool.made}) == 1, "a repeated call has the same key"
            done = tool.name in run.said("completed")
            assert not done or tool.name not in after.said("started")
    assert died >= 10


async def test_a_call_in_doubt_is_a_person_s_to_decide() -> None:
    tool = ScriptedTool("a", gate=asyncio.Event())
    run = GraphRun(flow(node("http", "a", "start")), tools=[tool])
    driven = asyncio.create_task(run.drive())
    async with asyncio.timeout(5):
        while not tool.open:
            await asyncio.sleep(0)
    driven.cancel()
    await asyncio.gather(driven, return_exceptions=True)
    assert tool.gate is not None
    tool.gate.set()
    after = await run.died().drive()
    assert isinstance(after.last, Interrupt)
    (question,) = after.questions
    assert question.type == "approval_request"
    later = after.died()
    later.answers[str(question.id)] = Answer("answered", approved=True)
    await later.drive()
    assert later.output("a") == {"content": "done"}
    assert len({call.key for _, call in tool.made}) == 1


async def test_a_person_is_asked_while_the_other_branch_goes_on() -> None:
    graph = flow(
        node("feedback", "ask", "start", msg_template="Send {{input}}?"),
        node("http", "a", "start"),
        node("output", "end", "ask", "a", pick={"said": "$.ask.output.content", "a": "$.a.output.content"}),
    )
    run = await GraphRun(graph, tools=[ScriptedTool("a")]).drive()
    assert isinstance(run.last, Interrupt)
    assert run.said("completed") == ["start", "a"]
    (question,) = run.questions
    assert question.prompt == "Send Hi?"
    after = run.died()
    after.answers[str(question.id)] = Answer("answered", feedback="yes")
    await after.drive()
    assert after.workflow.result == {"said": "yes", "a": "done"}
    assert after.said("started") == ["end"], "a node that waited does not begin again"


async def test_a_server_that_drains_begins_nothing_and_hands_over() -> None:
    tools = [ScriptedTool("a"), ScriptedTool("b")]

    def drain(run: GraphRun, _: Any) -> None:
        run.draining = run.rows.get("a", {}).get("status") == "completed"

    run = await GraphRun(flow(node("http", "a", "start"), node("http", "b", "a")), tools=tools, on_step=drain).drive()
    assert isinstance(run.last, Released)
    assert [len(tool.made) for tool in tools] == [1, 0]
    after = await run.died().drive()
    assert after.said("completed") == ["b", "end"]
    assert [len(tool.made) for tool in tools] == [1, 1]


async def test_a_cancel_ends_every_parallel_node() -> None:
    gate = asyncio.Event()
    tool = ScriptedTool("a", gate=gate)
    model = ScriptedModel([[[TextDelta("I")], asyncio.Event()]], TOOLS)
    graph = flow(node("http", "a", "start"), node("llm", "b", "start"), node("output", "end", "a", "b"))
    run = GraphRun(graph, model=model, tools=[tool])
    driven = asyncio.create_task(run.drive())
    async with asyncio.timeout(5):
        while not (tool.open and model.open):
            await asyncio.sleep(0)
    driven.cancel()
    await asyncio.gather(driven, return_exceptions=True)
    assert (tool.open, model.open) == (0, 0)
    run.workflow.abandon()
    assert len(run.workflow.unbilled) == 1, "what the model said until then is paid for"


async def test_too_large_an_output_fails_its_node_alone() -> None:
    tool = ScriptedTool("a", [ToolResult("x" * 1_100_000)])
    with pytest.raises(RunStopped) as stopped:
        await GraphRun(flow(node("http", "a", "start")), tools=[tool]).drive()
    assert stopped.value.code == "output_too_large"


async def test_what_cannot_be_stored_is_made_storable() -> None:
    model = ScriptedModel([[[TextDelta("a\0b\ud800")], [Usage(1, 1), Finish("stop")]]], TOOLS)
    run = await GraphRun(flow(node("llm", "a", "start")), model=model).drive()
    assert "\0" not in run.output("a")["content"]


async def test_a_structured_answer_is_an_object_that_paths_go_into() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "required": ["n"]}}}
    graph = flow(
        node("llm", "a", "start", response_format=schema),
        node("output", "end", "a", pick={"n": "$.a.output.content.n"}),
    )
    run = await GraphRun(graph, model=saying('```json\n{"n": 3}\n```')).drive()
    assert run.workflow.result == {"n": 3}


async def test_a_prompt_that_lacks_a_field_says_which() -> None:
    graph = flow(node("llm", "a", "start", prompt=prompt("About {{topic}} and {{other}}")))
    with pytest.raises(RunStopped, match="the prompt wants other, topic"):
        await GraphRun(graph, {"input": "x"}).drive()


async def test_a_template_fills_no_value_twice() -> None:
    graph = flow(node("llm", "a", "start", prompt=prompt("Say {{x}}")))
    run = await GraphRun(graph, {"x": "{{secret}}", "secret": "s3cret"}, saying("ok")).drive()
    assert run.model.requests[0].messages[-1].parts[0].text == "Say {{secret}}"


async def test_a_large_graph_runs_in_time() -> None:
    nodes = [node("http", f"n{index}", "start" if index < 20 else f"n{index - 20}") for index in range(400)]
    tool_list = [ScriptedTool(f"n{index}") for index in range(400)]
    ends = node("output", "end", *(f"n{index}" for index in range(380, 400)))
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = await GraphRun(flow(*nodes, ends), tools=tool_list).drive()
    assert len(run.said("completed")) == 402
    assert loop.time() - began < 15

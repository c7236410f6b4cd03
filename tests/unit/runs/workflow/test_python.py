"""Python code of a flow: as a node, as an agent's tool, and what is refused."""

from typing import Any

import pytest

from stoa.gateway import Capabilities
from stoa.runs.agent.steps import RunStopped
from stoa.runs.workflow.code import code_of, code_problems
from stoa.runs.workflow.graph import read
from stoa.tools import Sandbox
from tests.support.confined import confines
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import SHORT_NAMES, GraphRun, flow, node

DOUBLE = "def run(given):\n    return {'content': given['n'] * 2, 'kind': 'number'}"
pytestmark = [pytest.mark.timeout(30), confines]


def tool(name: str, code: str = DOUBLE) -> dict[str, Any]:
    return {"type": "dynamiq.nodes.tools.python.Python", "name": name, "code": code}


async def test_a_node_gives_what_its_code_gives() -> None:
    spread = "def run(n, m=1):\n    return n + m"
    graph = flow(
        node("python", "twice", "start", code=DOUBLE),
        node("python", "sum", "twice", code=spread, use_multiple_params=True, pick={"n": "$.twice.output.content"}),
        node("output", "end", "twice", "sum", pick={"twice": "$.twice.output", "sum": "$.sum.output.content"}),
    )
    run = await GraphRun(graph, {"n": 4}, sandbox=Sandbox()).drive()
    assert run.workflow.result == {"twice": {"content": 8, "kind": "number"}, "sum": 9}


async def test_code_that_fails_fails_its_node_by_line() -> None:
    graph = flow(node("python", "p", "start", code="def run(given):\n    x = 1\n    return x / 0"))
    with pytest.raises(RunStopped, match=r"ZeroDivisionError: division by zero \(line 3\)"):
        await GraphRun(graph, sandbox=Sandbox()).drive()


async def test_an_agent_calls_code_and_so_does_its_subagent() -> None:
    below = {"type": SHORT_NAMES["agent"], "name": "helper", "tools": [tool("Half", DOUBLE.replace("* 2", "/ 2"))]}
    graph = flow(node("agent", "a", "start", tools=[tool("Double it"), below]))
    names = {code.name for code in code_of(read(graph)).values()}
    assert names == {"Double_it", "Half"}
    model = ScriptedModel([calling(("Double_it", '{"n": 21}')), answer("42.")], Capabilities(images=False, tools=True))
    run = await GraphRun(graph, model=model, sandbox=Sandbox()).drive()
    assert run.workflow.result == {"content": "42."}
    results = [one.data["result"] for one in run.events if one.type.name == "TOOL_CALL_COMPLETED"]
    assert results == ['{"content":42,"kind":"number"}']


async def test_a_flow_fails_with_an_error_when_its_sandbox_is_no_longer_configured() -> None:
    with pytest.raises(RunStopped, match="its operator has set no sandbox"):
        await GraphRun(flow(node("python", "p", "start", code=DOUBLE)), {"n": 1}).drive()


def test_code_is_refused_without_a_sandbox_and_where_a_name_means_two_things() -> None:
    alone = read(flow(node("python", "p", "start", code=DOUBLE)))
    assert "STOA_SANDBOX" in code_problems(alone, sandbox=False)["flow.nodes.p"]
    assert not code_problems(alone, sandbox=True)
    two = flow(
        node("python", "a", "start", name="x", code=DOUBLE), node("python", "b", "a", name="x", code=DOUBLE + " ")
    )
    assert "give one of them another name" in code_problems(read(two), sandbox=True)["flow.nodes.b"]
    same = flow(node("python", "a", "start", name="x", code=DOUBLE), node("python", "b", "a", name="x", code=DOUBLE))
    assert not code_problems(read(same), sandbox=True)
    taken = flow(node("http", "x", "start"), node("python", "p", "x", name="x", code=DOUBLE))
    assert "flow.nodes.p" in code_problems(read(taken), sandbox=True)

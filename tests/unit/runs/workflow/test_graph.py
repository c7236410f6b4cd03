"""What a flow may be: each bad node is named, with the way out; hostile expressions cost what their length says."""

import time
from typing import Any

import orjson
import pytest

from stoa.kernel.errors import BadRequest
from stoa.runs.workflow import conditions, templates
from stoa.runs.workflow.advice import advice
from stoa.runs.workflow.graph import read
from stoa.runs.workflow.nodes.agent import AgentNode
from stoa.runs.workflow.nodes.node import Condition
from stoa.runs.workflow.paths import field
from stoa.runs.workflow.registry import NODE_TYPES, canonical
from tests.support.graphs import flow, node


def forked(**fields: Any) -> dict[str, Any]:
    return flow(node("choice", "c", "start", options=[{"id": "x", "condition": condition(**fields)}]))


SUBAGENT = "dynamiq.nodes.tools.agent_tool.SubAgentTool"
BOXED = {"role": "Dig.", "sandbox": {"enabled": True, "backend": {"type": "dynamiq.sandboxes.E2BSandbox"}}}


def refused(graph: Any) -> dict[str, str]:
    with pytest.raises(BadRequest) as error:
        read(graph)
    return dict(error.value.details or {})


def condition(**fields: Any) -> dict[str, Any]:
    return {"variable": "$.x", "operator": "string-equals", "value": "a", **fields}


@pytest.mark.parametrize(
    ("graph", "path", "says"),
    [
        (flow(node("http", "a", "b"), node("http", "b", "a")), "flow.nodes", "circle: a"),
        (flow(node("http", "a", "gone")), "flow.nodes[1].depends[0].node", "'gone', which is no node"),
        (flow(node("http", "a", "start"), node("http", "a", "start")), "flow.nodes[2].id", "as that of flow.nodes[1]"),
        (flow(node("input", "other")), "flow.nodes", "there are 2: start, other"),
        ({"nodes": [node("input", "start")]}, "flow.nodes", "Output"),
        (flow(node("http", "a/b", "start")), "flow.nodes[1].id", "pattern"),
        (
            flow(node("http", "a", {"node": "start", "option": "x"})),
            "flow.nodes[1].depends[0].option",
            "it is no Choice",
        ),
        (
            flow(node("choice", "c", "start", options=[{"id": "x"}]), node("http", "a", {"node": "c", "option": "y"})),
            "flow.nodes[2].depends[0].option",
            "its options: x",
        ),
        (
            flow(node("http", "a", {"node": "start", "option": "x", "trigger": "failure"})),
            "flow.nodes[1].depends[0].option",
            "cannot stand with",
        ),
        (flow(node("input", "s2") | {"depends": ["start"]}), "flow.nodes[1].depends[0].node", "waits for nothing"),
        (flow(node("http", "a", "start", pick={"x": "$["})), "flow.nodes[1].input_transformer.selector.x", "JSONPath"),
        (
            flow(node("http", "b", "start"), node("http", "a", "start", pick={"x": "$.b.output.y"})),
            "flow.nodes[2].input_transformer.selector.x",
            "'b', which 'a' does not depend on",
        ),
        (
            forked(variable="$.a[?@.b]"),
            "flow.nodes[1].options[0].condition",
            "filters are not followed",
        ),
        (
            forked(operator="string-regexp", value="(?=a)b"),
            "flow.nodes[1].options[0].condition",
            "linear time",
        ),
        (
            forked(operator="string-equals-path"),
            "flow.nodes[1].options[0].condition",
            "wants a path",
        ),
        (
            forked(operator="like"),
            "flow.nodes[1].options[0].condition.operator",
            "Input should be",
        ),
        (
            flow(node("llm", "a", "start", prompt={"messages": [{"content": "{% for x in y %}"}]})),
            "flow.nodes[1].prompt.messages[0].content",
            "without its {% endfor %}",
        ),
        (flow(node("agent", "a", "start", sandbox={"enabled": True})), "flow.nodes[1].sandbox", "STOA_SANDBOX"),
        (flow(node("llm", "a", "start", approval={"enabled": True})), "flow.nodes[1].approval", "HumanFeedbackTool"),
        (flow(node("http", "a", "start", input_mapping={"x": 1})), "flow.nodes[1].input_mapping", "input_transformer"),
        (
            flow({"id": "m", "type": "dynamiq.nodes.tools.MCPServer", "depends": ["start"]}),
            "flow.nodes[1].include_tools",
            "one tool",
        ),
        (
            flow({"id": "m", "type": "dynamiq.nodes.operator.Choise"}),
            "flow.nodes[1].type",
            "did you mean dynamiq.nodes.operators.Choice?",
        ),
        (
            flow({"id": "p", "type": "dynamiq.nodes.tools.python.Python", "code": "x = 1"}),
            "flow.nodes[1].code",
            "defines no function run",
        ),
        (flow(node("retrieve", "r", "start")), "flow.nodes[1].knowledgebase_id", "stoa apps deploy"),
        (
            flow(node("split", "s", "start", split_length=2, split_overlap=2)),
            "flow.nodes[1].split_overlap",
            "smaller",
        ),
        (
            flow({"id": "t", "type": "dynamiq.nodes.converters.GoogleDocumentAIConverter"}),
            "flow.nodes[1].type",
            "upload the file to a knowledge base",
        ),
        (flow({"id": "t", "type": SUBAGENT, "depends": "start"}), "flow.nodes[1].type", "a tool for agents"),
        (flow(node("agent", "a", "start", tools=[{"type": SUBAGENT, "name": "R"}])), "flow.nodes[1].tools", "no agent"),
        (
            flow(node("agent", "a", "start", tools=[{"type": SUBAGENT, "name": "R", "agent_factory": BOXED}])),
            "flow.nodes[1].tools",
            "offer that service as an MCP server",
        ),
        (
            flow(node("agent", "a", "start", tools=[{"type": SUBAGENT, "agent_factory": {"tools": [{"type": "x"}]}}])),
            "flow.nodes[1].tools[0].agent.tools[0].type",
            "does not run",
        ),
        (flow({"id": "x", "type": {"a": 1}}), "flow.nodes[1].type", "does not run"),
        ({"nodes": [node("input", "start"), "x"]}, "flow.nodes[1]", "must be an object"),
    ],
)
def test_a_bad_node_is_named(graph: Any, path: str, says: str) -> None:
    details = refused(graph)
    assert says in details[path], details


def test_limits_of_a_graph() -> None:
    chain = [node("http", f"n{index}", "start" if index == 0 else f"n{index - 1}") for index in range(250)]
    assert "252 deep" in refused(flow(*chain))["flow.nodes"]
    assert "more than 500" in refused(flow(*(node("http", f"n{index}") for index in range(600))))["flow.nodes"]
    inner: Any = {"type": "dynamiq.nodes.tools.HttpApiCall"}
    for _ in range(6):
        inner = {"type": "dynamiq.nodes.operators.Map", "node": inner}
    assert any(
        "within more than 3 Maps" in why for why in refused(flow(node("map", "m", "start", node=inner))).values()
    )
    nested: Any = condition()
    for _ in range(12):
        nested = {"operator": "and", "operands": [nested]}
    graph = flow(node("choice", "c", "start", options=[{"id": "x", "condition": nested}]))
    assert "nested deeper" in refused(graph)["flow.nodes[1].options[0].condition"]


def test_a_type_may_be_named_with_its_module() -> None:
    assert canonical("dynamiq.nodes.tools.http_api_call.HttpApiCall") == "dynamiq.nodes.tools.HttpApiCall"
    graph = read(flow({"id": "a", "type": "dynamiq.nodes.tools.http_api_call.HttpApiCall", "depends": "start"}))
    assert graph.node("a").type is NODE_TYPES["dynamiq.nodes.tools.HttpApiCall"]


def test_every_type_that_runs_does_something() -> None:
    for one in NODE_TYPES.values():
        assert (one.decide is None) != (one.work is None) or one.refused or one.tool_only, one.name
        assert one.schema.model_json_schema()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.a", {"b": [1, 2, {"c": "x"}]}),
        ("$", {"a": {"b": [1, 2, {"c": "x"}]}, "n-1": {"output": {"x y": 5}}, "none": None}),
        ("$.a.b[0]", 1),
        ("$.a.b[-1].c", "x"),
        ("$.a.b[0:2]", [1, 2]),
        ("$..c", "x"),
        ("$.a.b[*]", [1, 2, {"c": "x"}]),
        ("$.n-1.output['x y']", 5),
        ("@.a.b[1]", 2),
        ("$.gone", None),
        ("$.gone || $.none || $.a.b[0]", 1),
        ("$.gone || nothing there", "nothing there"),
        ("a || b", "a || b"),
        ("@channel", "@channel"),
        ("A sentence, and more.", "A sentence, and more."),
        ("word", "word"),
        ("none", None),
        (7, 7),
        ({"x": "$.a"}, {"x": "$.a"}),
        ("", ""),
    ],
)
def test_selectors(path: Any, found: Any) -> None:
    data = {"a": {"b": [1, 2, {"c": "x"}]}, "n-1": {"output": {"x y": 5}}, "none": None}
    assert field(path).of(data) == found


@pytest.mark.parametrize(
    ("fields", "data", "holds"),
    [
        ({"operator": "numeric-equals", "value": 1}, 1, True),
        ({"operator": "numeric-equals", "value": 1}, True, False),
        ({"operator": "boolean-equals", "value": True}, True, True),
        ({"operator": "boolean-equals", "value": True}, 1, False),
        ({"operator": "numeric-less-than-or-equals", "value": 2}, 2, True),
        ({"operator": "string-starts-with", "value": "a"}, "abc", True),
        ({"operator": "string-ends-with", "value": "a"}, "abc", False),
        ({"operator": "string-contains", "value": 5}, 151, True),
        ({"operator": "string-regexp", "value": r"^\d+$"}, "123", True),
        ({"operator": "string-regexp", "value": "(a+)+$"}, "a" * 9_000 + "!", False),
        ({"operator": "string-equals", "value": "a", "is_not": True}, None, True),
    ],
)
def test_conditions(fields: dict[str, Any], data: Any, holds: bool) -> None:
    assert conditions.holds(Condition(variable="$.x", **fields), {"x": data}) is holds


def test_conditions_within_conditions_and_against_paths() -> None:
    both = Condition.model_validate({
        "operator": "and",
        "operands": [
            {"variable": "$.n", "operator": "numeric-greater-than-path", "value": "$.limit"},
            {"operator": "or", "operands": [condition(), condition(value="b")]},
        ],
    })  # fmt: skip
    assert conditions.holds(both, {"n": 3, "limit": 2, "x": "b"})
    assert not conditions.holds(both, {"n": 3, "limit": 3, "x": "b"})
    with pytest.raises(conditions.ConditionError, match="finds 0 values"):
        conditions.holds(both, {"n": 3, "x": "b"})


def test_templates() -> None:
    fields = {"user": {"name": "Ada", "tags": ["x", {"y": 1}]}, "empty": None}
    text = "{{user.name}} {{ user.tags.1 }} {{user.tags.9}} {{gone}} {{empty}}."
    assert templates.filled(text, fields) == 'Ada {"y":1} {{user.tags.9}} {{gone}} .'
    assert templates.missing(text, fields) == ["gone"]
    for bad in (
        "{% if x %}",
        "{{ x | upper }}",
        "{{ x() }}",
        "{{x[y]}}",
        "{{",
        "{% endfor %}",
        "{% for x in y %}{% endif %}",
        "{% set x = 1 %}",
        "{{ {{a}} }}",
        "{% for x in range(9) %}{% endfor %}",
        "{% if a %}" * 5 + "{% endif %}" * 5,
    ):
        assert templates.problem(bad), bad
    assert templates.problem("{ a: {b} } {{ok}}") is None


def test_blocks_of_templates() -> None:
    """As the platform's prompts for answers from documents write them."""
    documents = [{"content": "Sunny.", "metadata": {"title": "Rome"}}, {"content": "Rain.", "metadata": {}}]
    text = (
        "{% for one in documents -%}\n  {{loop.index}} {{ one.metadata['title'] }}: {{one[\"content\"]}}\n"
        "{%- if one.metadata.title %} (named){% else %} (no name){% endif %};{% endfor %} {{q}}"
    )
    assert templates.filled(text, {"documents": documents, "q": "{{one}}"}) == (
        "1 Rome: Sunny. (named);2 : Rain. (no name); {{one}}"
    )
    assert templates.missing(text, {}) == ["documents", "q"]
    assert templates.missing("{% if name %}{{name}}{% endif %}", {}) == []
    assert templates.filled("{% for x in gone %}a{% endfor %}{% if not gone %}b{% endif %}", {}) == "b"


def test_the_cost_of_a_template_is_bounded_by_its_length_and_lists() -> None:
    many = {"x": list(range(5_000))}
    nested = "{% for a in x %}{% for b in x %}!{% endfor %}{% endfor %}"
    with pytest.raises(templates.TemplateError, match="more than 10000 times"):
        templates.filled(nested, many)
    with pytest.raises(templates.TemplateError, match="more than 2000000 characters"):
        templates.filled("{% for a in x %}{{ y }}{% endfor %}", {**many, "y": "y" * 1_000})
    began = time.process_time()
    for hostile in ("{{" * 50_000, "{%" * 50_000, "{{a" * 30_000, "{% if a" * 15_000, "{{" + "a." * 50_000):
        assert templates.problem(hostile)
    assert time.process_time() - began < 2


def test_advice() -> None:
    fork = node("choice", "fork", "start", options=[{"id": "x"}, {"id": "y"}])
    left = node("http", "left", {"node": "fork", "option": "x"})
    right = node("http", "right", {"node": "fork", "option": "y"})
    found = dict(advice(read(flow(fork, left, right, node("http", "join", "left", "right")))))
    assert set(found) == {"join"}
    assert "always skipped" in found["join"]
    returning = [one | {"error_handling": {"behavior": "return"}} for one in (left, right)]
    assert not advice(read(flow(fork, *returning, node("http", "join", "left", "right"))))
    many = flow(fork | {"hit_policy": "all"}, left, right, node("http", "join", "left", "right"))
    assert not advice(read(many))
    assert (
        "nothing of it reaches"
        in dict(advice(read(flow(node("http", "lost", "start"), node("http", "a", "start")))))["lost"]
    )


def test_a_large_flow_is_read_in_time() -> None:
    picks = {f"f{index}": f"$.start.output.f{index}" for index in range(10)}
    nodes = [node("http", f"n{index}", "start", pick=picks) for index in range(490)]
    began = time.process_time()
    read(orjson.loads(orjson.dumps(flow(*nodes))))
    assert time.process_time() - began < 5


def test_a_subagent_s_wrapper_is_the_agent_that_it_holds() -> None:
    held = {
        "name": "Inner",
        "role": "Dig deep.",
        "llm": {"type": "dynamiq.nodes.llms.OpenAI", "model": "m"},
        "tools": [{"type": "dynamiq.nodes.tools.http_api_call.HttpApiCall", "name": "Look up"}],
    }
    tool = {"type": SUBAGENT, "name": "Researcher", "description": "Digs.", "agent_factory": held}
    graph = read(flow(node("agent", "a", "start", tools=[tool])))
    agent = next(one.node for one in graph.nodes if one.node.id == "a")
    assert isinstance(agent, AgentNode)
    (made,) = agent.agent({}).subagents
    assert (made.name, made.description, made.instructions) == ("Researcher", "Digs.", "Dig deep.")
    assert made.tools == ["Look_up"]
    assert agent.needs().tools == ["Look_up"]

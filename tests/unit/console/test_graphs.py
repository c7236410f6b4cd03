"""A workflow's graph: what is drawn of a flow, where, and that nothing that somebody saved is a bug."""

from typing import Any

import pytest

from stoa.console import graphs

FLOW: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "dynamiq.nodes.utils.Input"},
        {"id": "kind", "type": "dynamiq.nodes.operators.Choice", "depends": ["start"], "options": [
            {"id": "long", "condition": {"variable": "$.words", "operator": "numeric-greater-than", "value": 100}},
            {"id": "short"},
        ]},
        {"id": "brief", "type": "dynamiq.nodes.llms.CustomLLM", "depends": [{"node": "kind", "option": "short"}],
         "prompt": {"messages": [{"role": "user", "content": "About {{ topic }}."}]}},
        {"id": "essay", "type": "dynamiq.nodes.llms.CustomLLM", "depends": [{"node": "kind", "option": "long"}]},
        {"id": "end", "type": "dynamiq.nodes.utils.Output", "depends": ["brief", "essay", {"node": "kind"}],
         "input_transformer": {"selector": {"text": "$.brief.output.content || $.essay.output.content"}}},
    ],
}  # fmt: skip


def columns(graph: graphs.Graph) -> list[list[str]]:
    by_x: dict[float, list[str]] = {}
    for box in graph.boxes:
        by_x.setdefault(box.x, []).append(box.id)
    return [sorted(by_x[x]) for x in sorted(by_x)]


def test_a_node_stands_right_of_all_that_it_waits_for() -> None:
    graph = graphs.drawn(FLOW)
    assert columns(graph) == [["start"], ["kind"], ["brief", "essay"], ["end"]]
    assert sorted(line.label for line in graph.lines) == ["", "", "", "", "long", "short"]
    assert graph.width > 4 * graphs.WIDTH


def test_no_two_boxes_overlap() -> None:
    nodes = [{"id": str(number), "depends": [str(number // 3)] if number else []} for number in range(60)]
    boxes = graphs.drawn({"nodes": nodes}).boxes
    spots = [(box.x, box.y) for box in boxes]
    assert len(set(spots)) == 60
    for index, (x, y) in enumerate(spots):
        for other_x, other_y in spots[:index]:
            assert abs(x - other_x) >= graphs.WIDTH or abs(y - other_y) >= graphs.HEIGHT


def canvas(**spots: tuple[float, float]) -> dict[str, Any]:
    return {"nodes": [{"id": name, "position": {"x": x, "y": y}} for name, (x, y) in spots.items()]}


TWO = {"nodes": [{"id": "a"}, {"id": "b", "depends": ["a"]}]}


def test_the_canvas_decides_where_it_knows_every_node() -> None:
    boxes = graphs.drawn(TWO, canvas(a=(-500, 40), b=(-500, 240))).boxes
    assert [(box.x, box.y) for box in boxes] == [(graphs.MARGIN, graphs.MARGIN), (graphs.MARGIN, graphs.MARGIN + 200)]


@pytest.mark.parametrize(
    "spots",
    [
        canvas(a=(0, 0)),
        canvas(a=(0, 0), b=(10, 10)),
        canvas(a=(0, 0), b=(1e7, 0)),
        canvas(a=(0, 0), b=(float("nan"), 0)),
        {"nodes": [{"id": "a", "position": {"x": "1", "y": None}}, {"id": "b", "position": []}]},
        {"nodes": "none"},
    ],
)
def test_a_canvas_that_cannot_be_used_is_laid_out_anew(spots: dict[str, Any]) -> None:
    boxes = graphs.drawn(TWO, spots).boxes
    assert [(box.x, box.y) for box in boxes] == [
        (graphs.MARGIN, graphs.MARGIN),
        (graphs.MARGIN + graphs.WIDTH + graphs.GAP_X, graphs.MARGIN),
    ]


@pytest.mark.parametrize(
    "flow",
    [
        None, {}, {"nodes": None}, {"nodes": [1, "x", None]}, {"agent": None},
        {"nodes": [{}, {"id": None, "type": 3, "depends": "a"}, {"id": "a", "depends": [None, {"node": {"id": 3}}]}]},
        {"nodes": [{"id": "a", "depends": ["b", "a"]}, {"id": "b", "depends": ["a", "nothing"]}]},
        {"nodes": [{"id": "a", "name": {"x": 1}, "tools": "many", "depends": [{"node": "a", "option": 7}]}]},
        {"agent": {"tools": [{"name": 1}, None], "subagents": {}, "knowledge_bases": ["x"], "model": 7}},
    ],
)  # fmt: skip
def test_whatever_was_saved_is_drawn(flow: Any) -> None:
    graph = graphs.drawn(flow)
    assert graph.width >= 0
    assert isinstance(graphs.draft(flow), dict)


def test_a_large_flow_is_drawn_in_part() -> None:
    nodes = [{"id": str(number), "depends": [str(number - 1)]} for number in range(graphs.NODES_MAX + 20)]
    graph = graphs.drawn({"nodes": nodes})
    assert (len(graph.boxes), graph.more) == (graphs.NODES_MAX, 20)


def test_an_agent_is_drawn_with_what_it_uses() -> None:
    graph = graphs.drawn({"agent": {"tools": ["weather"], "subagents": [{"name": "reader"}]}})
    assert [(box.label, box.group) for box in graph.boxes] == [
        ("Agent", "agent"), ("weather", "tool"), ("reader", "agent"),
    ]  # fmt: skip
    assert all(line.soft for line in graph.lines)


def test_a_draft_of_the_input_has_the_fields_that_nodes_read() -> None:
    assert graphs.draft(FLOW) == {"topic": "…", "words": 20}
    assert graphs.draft({"agent": {}}) == {"input": "Hello!"}

"""Lays out a workflow's graph as boxes and lines for SVG: at the positions of its canvas, or else in layers. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

WIDTH: Final = 184
HEIGHT: Final = 52
GAP_X: Final = 64
GAP_Y: Final = 20
MARGIN: Final = 12
CANVAS_MAX: Final = 12_000.0
"""In pixels. The positions of a larger canvas are not used."""
NODES_MAX: Final = 500
SWEEPS: Final = 3
LABEL_CHARACTERS: Final = 23
KIND_CHARACTERS: Final = 28
DRAFT_MAX: Final = 12
_FILLED: Final = re.compile(r"\{\{\s*([A-Za-z_]\w{0,60})")
_PATH: Final = re.compile(r"\$\.([A-Za-z_]\w{0,60})")
_NUMBER: Final = re.compile(r'"variable":"\$\.(\w{1,60})","operator":"numeric-')
GROUPS: Final = {
    "llms": "model",
    "agents": "agent",
    "tools": "tool",
    "operators": "choice",
    "knowledgebases": "knowledge",
    "retrievers": "knowledge",
    "writers": "knowledge",
    "validators": "choice",
}
"""Family of a node's type → the group that decides its colour. Others are plain."""


@dataclass(frozen=True, slots=True)
class Box:
    id: str
    label: str
    kind: str
    title: str
    group: str
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """`path` is the curve; `label` is the option or condition of the edge, drawn at (`x`, `y`)."""

    path: str
    label: str
    x: float
    y: float
    soft: bool
    """Whether it leads to something that an agent uses, and not to a node that runs after it."""


@dataclass(frozen=True, slots=True)
class Graph:
    boxes: Sequence[Box]
    lines: Sequence[Line]
    width: int
    height: int
    more: int
    """The number of nodes that are not drawn."""


@dataclass(frozen=True, slots=True)
class _Edge:
    source: str
    target: str
    label: str = ""
    soft: bool = False


def drawn(flow: Mapping[str, Any] | None, canvas: Mapping[str, Any] | None = None) -> Graph:
    """The layout of a saved flow. Anything that is not a graph gives an empty one."""
    boxes, edges = _read(flow or {})
    more = max(0, len(boxes) - NODES_MAX)
    boxes = boxes[:NODES_MAX]
    there = {box.id for box in boxes}
    edges = [edge for edge in edges if edge.source in there and edge.target in there]
    placed = _placed(boxes, canvas or {}) or _layered(boxes, edges)
    by_id = {box.id: box for box in placed}
    lines = [_line(by_id[edge.source], by_id[edge.target], edge) for edge in edges]
    width = max((box.x + WIDTH for box in placed), default=0.0) + MARGIN
    height = max((box.y + HEIGHT for box in placed), default=0.0) + MARGIN
    return Graph(placed, lines, math.ceil(width), math.ceil(height), more)


def draft(flow: Mapping[str, Any] | None) -> dict[str, Any]:
    """An example input to try a flow with: the fields that its nodes read, or else one text."""
    told = orjson.dumps(flow or {}).decode()
    nodes = {str(node.get("id")) for node in _mappings((flow or {}).get("nodes"))}
    names = dict.fromkeys([*_FILLED.findall(told), *_PATH.findall(told)])
    fields = [name for name in names if name not in nodes and name not in ("option", "item")]
    numbers = set(_NUMBER.findall(told))
    return {name: 20 if name in numbers else "…" for name in fields[:DRAFT_MAX]} or {"input": "Hello!"}


# --- reading --------------------------------------------------------------------------------------------------------
def _read(flow: Mapping[str, Any]) -> tuple[list[Box], list[_Edge]]:
    agent = flow.get("agent")
    if isinstance(agent, Mapping):
        return _agent(cast("Mapping[str, Any]", agent))
    listed = flow.get("nodes")
    boxes: list[Box] = []
    edges: list[_Edge] = []
    for node in _mappings(listed):
        box = _box(node)
        boxes.append(box)
        edges += [edge for depends in _listed(node.get("depends")) if (edge := _edge(depends, box.id))]
    unique = {box.id: box for box in boxes}
    return list(unique.values()), list(dict.fromkeys(edges))


def _agent(agent: Mapping[str, Any]) -> tuple[list[Box], list[_Edge]]:
    """The short form of a flow: one agent and what it uses."""
    boxes = [_named("agent", str(agent.get("name") or "Agent"), str(agent.get("model") or "default model"), "agent")]
    for field, group, kind in (
        ("tools", "tool", "tool"),
        ("knowledge_bases", "knowledge", "knowledge base"),
        ("subagents", "agent", "subagent"),
    ):
        for index, one in enumerate(_listed(agent.get(field))):
            name = str(cast("Mapping[str, Any]", one).get("name", "")) if isinstance(one, Mapping) else str(one)
            boxes.append(_named(f"{field}.{index}", name, kind, group))
    return boxes, [_Edge("agent", box.id, soft=True) for box in boxes[1:]]


def _box(node: Mapping[str, Any]) -> Box:
    kind = str(node.get("type") or "").removeprefix("dynamiq.nodes.")
    name = str(node.get("name") or node.get("id") or kind)
    group = "end" if kind in ("utils.Input", "utils.Output") else GROUPS.get(kind.partition(".")[0], "plain")
    model = node.get("model")
    told = kind.rpartition(".")[2] + (f" · {model}" if isinstance(model, str) else "")
    tools = len(_listed(node.get("tools")))
    return _named(str(node.get("id") or ""), name, f"{told} · {tools} tools" if tools else told, group)


def _named(id_: str, name: str, kind: str, group: str) -> Box:
    return Box(id_, _short(name, LABEL_CHARACTERS), _short(kind, KIND_CHARACTERS), f"{name}: {kind}", group)


def _edge(depends: Any, target: str) -> _Edge | None:
    if isinstance(depends, str):
        return _Edge(depends, target)
    if not isinstance(depends, Mapping):
        return None
    told = cast("Mapping[str, Any]", depends)
    source: Any = told.get("node")
    if isinstance(source, Mapping):
        source = cast("Mapping[str, Any]", source).get("id")
    if not isinstance(source, str):
        return None
    label = told.get("option") or ("on failure" if told.get("trigger") == "failure" else "")
    return _Edge(source, target, _short(str(label or ("if" if told.get("condition") else "")), 16))


def _short(text: str, characters: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [cast("Mapping[str, Any]", one) for one in _listed(value) if isinstance(one, Mapping)]


# --- placing --------------------------------------------------------------------------------------------------------
def _placed(boxes: Sequence[Box], canvas: Mapping[str, Any]) -> list[Box] | None:
    """The boxes at the positions of the canvas. None if a node has no position, the canvas is too large, or boxes
    overlap."""
    spots = {str(node.get("id")): spot for node in _mappings(canvas.get("nodes")) if (spot := _spot(node)) is not None}
    if not boxes or any(box.id not in spots for box in boxes):
        return None
    left = min(spots[box.id][0] for box in boxes)
    top = min(spots[box.id][1] for box in boxes)
    moved = [replace(box, x=spots[box.id][0] - left + MARGIN, y=spots[box.id][1] - top + MARGIN) for box in boxes]
    if max(max(box.x, box.y) for box in moved) > CANVAS_MAX or _overlapping(moved):
        return None
    return moved


def _spot(node: Mapping[str, Any]) -> tuple[float, float] | None:
    position = node.get("position")
    if not isinstance(position, Mapping):
        return None
    found = [cast("Mapping[str, Any]", position).get(name) for name in ("x", "y")]
    if all(isinstance(one, int | float) and abs(one) < 1e9 for one in found):
        return float(cast("float", found[0])), float(cast("float", found[1]))
    return None


def _overlapping(boxes: Sequence[Box]) -> bool:
    """Uses a grid of cells of a box's size: only boxes in neighbouring cells can overlap."""
    cells: dict[tuple[int, int], list[Box]] = {}
    for box in boxes:
        column, row = int(box.x // WIDTH), int(box.y // HEIGHT)
        near = (cells.get((column + dx, row + dy), ()) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
        if any(abs(box.x - one.x) < WIDTH and abs(box.y - one.y) < HEIGHT for group in near for one in group):
            return True
        cells.setdefault((column, row), []).append(box)
    return False


def _layered(boxes: Sequence[Box], edges: Sequence[_Edge]) -> list[Box]:
    """From left to right: each node is one column after the last node that it waits for, and in its column near the
    nodes that it waits for."""
    ranks = _ranks(boxes, edges)
    columns: list[list[Box]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for box in boxes:
        columns[ranks[box.id]].append(box)
    above: dict[str, list[str]] = {box.id: [] for box in boxes}
    for edge in edges:
        above[edge.target].append(edge.source)
    rows = {box.id: float(index) for column in columns for index, box in enumerate(column)}
    for _ in range(SWEEPS):
        for column in columns[1:]:
            column.sort(key=lambda box: _mean([rows[one] for one in above[box.id]], rows[box.id]))
            offset = (max(map(len, columns)) - len(column)) / 2
            rows |= {box.id: offset + index for index, box in enumerate(column)}
    tallest = max(map(len, columns), default=0)
    return [
        replace(
            box,
            x=MARGIN + number * (WIDTH + GAP_X),
            y=MARGIN + ((tallest - len(column)) / 2 + index) * (HEIGHT + GAP_Y),
        )
        for number, column in enumerate(columns)
        for index, box in enumerate(column)
    ]


def _ranks(boxes: Sequence[Box], edges: Sequence[_Edge]) -> dict[str, int]:
    """The length of the longest path to each node. The order in a cycle, which no valid flow has, is undefined."""
    waits = {box.id: 0 for box in boxes}
    after: dict[str, list[str]] = {box.id: [] for box in boxes}
    for edge in edges:
        waits[edge.target] += 1
        after[edge.source].append(edge.target)
    ranks = dict.fromkeys(waits, 0)
    ready = [id_ for id_, number in waits.items() if not number]
    while ready:
        done = ready.pop()
        for target in after[done]:
            ranks[target] = max(ranks[target], ranks[done] + 1)
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    return ranks


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _line(source: Box, target: Box, edge: _Edge) -> Line:
    if target.x < source.x + WIDTH and target.y >= source.y + HEIGHT:  # Below it, as on vertical canvases.
        x1, y1, x2, y2 = source.x + WIDTH / 2, source.y + HEIGHT, target.x + WIDTH / 2, target.y - 4
        bend = max(16.0, (y2 - y1) / 2)
        path = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    else:
        x1, y1, x2, y2 = source.x + WIDTH, source.y + HEIGHT / 2, target.x - 4, target.y + HEIGHT / 2
        bend = max(24.0, abs(x2 - x1) / 2)
        path = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return Line(path, edge.label, (x1 + x2) / 2, (y1 + y2) / 2 - 5, edge.soft)

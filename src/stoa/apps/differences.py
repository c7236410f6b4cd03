"""The differences between two versions of a flow. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from stoa.apps.types import Change

DIFFERENCES_MAX: Final = 1_000
DEPTH_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Difference:
    """`path` names a node by its id: `nodes.writer.llm.model`."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[Difference]:
    """From `before` to `after`, ignoring the order of nodes and their position on the canvas."""
    found: list[Difference] = []
    for one in _compared("", _by_id(before), _by_id(after), 0):
        found.append(one)
        if len(found) == DIFFERENCES_MAX:
            break
    return found


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> Sequence[Change]:
    """The differing parts of two flows: fields of the shorthand's agent, or nodes, in the order of the first."""
    here, there = _parts(now), _parts(then)
    paths = [*here, *(path for path in there if path not in here)]
    return [Change(path, here.get(path), there.get(path)) for path in paths if here.get(path) != there.get(path)]


def _parts(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    agent, nodes = flow.get("agent"), flow.get("nodes")
    if isinstance(agent, Mapping):
        return {f"agent.{name}": value for name, value in cast("Mapping[str, Any]", agent).items()}
    listed = cast("list[Any]", nodes) if isinstance(nodes, list) else []
    return {f"nodes.{one['id']}": one for one in listed if isinstance(one, Mapping) and "id" in one}


def _by_id(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    nodes = flow.get("nodes")
    if not isinstance(nodes, list):
        return flow
    listed = cast("list[Any]", nodes)
    named = {str(one.get("id", index)) if isinstance(one, Mapping) else str(index): one
             for index, one in enumerate(listed)}  # fmt: skip
    return {**flow, "nodes": named if len(named) == len(listed) else listed}


def _compared(path: str, before: Any, after: Any, depth: int) -> Iterator[Difference]:
    if before == after and type(before) is type(after):
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)) or depth >= DEPTH_MAX:
        yield Difference(path or ".", "changed", before, after)
        return
    was, becomes = cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after)
    for name in dict.fromkeys([*was, *becomes]):
        below = f"{path}.{name}" if path else name
        if name not in becomes:
            yield Difference(below, "removed", before=was[name])
        elif name not in was:
            yield Difference(below, "added", after=becomes[name])
        else:
            yield from _compared(below, was[name], becomes[name], depth + 1)

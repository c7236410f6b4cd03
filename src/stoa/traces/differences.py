"""Compares two traces: pure. Steps are paired by their position in the tree, and siblings by name, type and order. A
step that only one trace has stays unpaired."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

from stoa.traces.types import Span

SIBLINGS_MAX: Final = 400
"""Up to this many children of one parent are paired by longest common subsequence; more are paired by position."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A step of both traces, or of one. `changed` names what differs."""

    depth: int
    left: Span | None
    right: Span | None
    change: Literal["same", "changed", "removed", "added"]
    changed: Sequence[str] = ()


def compare(left: Sequence[Span], right: Sequence[Span]) -> Sequence[Pair]:
    """Parents before their children, in the order of the left trace. A step that only the right one has stands where it
    occurs there."""
    return list(_paired(_Tree(left), _Tree(right)))


class _Tree:
    """Children by parent. Spans that others send may form circles or name parents that never arrived; each span appears
    once all the same."""

    def __init__(self, spans: Sequence[Span]) -> None:
        known = {span.id for span in spans}
        self._below: dict[str | None, list[Span]] = {}
        for span in spans:
            parent = span.parent_id if span.parent_id in known and span.parent_id != span.id else None
            self._below.setdefault(parent, []).append(span)
        reached: set[str] = set()
        left = list(self._below.get(None, ()))
        while left:
            span = left.pop()
            reached.add(span.id)
            left += self._below.get(span.id, ())
        for span in spans:  # A circle is attached to the root by its first span.
            if span.id not in reached:
                self._below.setdefault(None, []).append(span)
                self._below[span.parent_id] = [one for one in self._below[span.parent_id] if one is not span]
                left = [span]
                while left:
                    one = left.pop()
                    reached.add(one.id)
                    left += self._below.get(one.id, ())

    def below(self, span: Span | None) -> Sequence[Span]:
        return self._below.get(span.id if span else None, ())


def _paired(left: _Tree, right: _Tree) -> Iterator[Pair]:
    todo: list[tuple[int, Span | None, Span | None]] = list(reversed(_siblings(0, left.below(None), right.below(None))))
    while todo:
        depth, one, other = todo.pop()
        yield _pair(depth, one, other)
        below = _siblings(depth + 1, left.below(one) if one else (), right.below(other) if other else ())
        todo += reversed(below)


def _siblings(depth: int, left: Sequence[Span], right: Sequence[Span]) -> list[tuple[int, Span | None, Span | None]]:
    if max(len(left), len(right)) > SIBLINGS_MAX:
        return [
            (depth, left[at] if at < len(left) else None, right[at] if at < len(right) else None)
            for at in range(max(len(left), len(right)))
        ]
    names = [(span.name, span.type) for span in left], [(span.name, span.type) for span in right]
    found: list[tuple[int, Span | None, Span | None]] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [(depth, one, other) for one, other in zip(left[i:i_end], right[j:j_end], strict=True)]
        else:
            found += [(depth, one, None) for one in left[i:i_end]]
            found += [(depth, None, other) for other in right[j:j_end]]
    return found


def _pair(depth: int, one: Span | None, other: Span | None) -> Pair:
    if other is None:
        return Pair(depth, one, None, "removed")
    if one is None:
        return Pair(depth, None, other, "added")
    a, b = _said(one), _said(other)
    changed = [name for name in a if a[name] != b[name]]
    return Pair(depth, one, other, "changed" if changed else "same", changed)


def _said(span: Span) -> Mapping[str, object]:
    """The fields that steps are compared by. Times are left out, because they always differ."""
    return {
        "status": span.status,
        "model": span.model,
        "prompt_tokens": span.prompt_tokens,
        "completion_tokens": span.completion_tokens,
        "cost_usd": span.cost_usd,
        "input": span.body.get("input"),
        "output": span.body.get("output"),
        "error": span.body.get("error"),
        "attributes": span.body.get("attributes"),
    }

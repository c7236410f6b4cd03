"""Two trees of steps side by side."""

from datetime import UTC, datetime

from stoa.traces.differences import compare
from stoa.traces.types import Span

START = datetime(2026, 3, 1, tzinfo=UTC)


def step(span_id: str, parent_id: str | None, name: str, **fields: object) -> Span:
    body = fields.pop("body", {})
    return Span("t", span_id, parent_id, "sdk", name, "node", "succeeded", START, START, body, **fields)  # type: ignore[arg-type]


def shown(left: list[Span], right: list[Span]) -> list[tuple[int, str, str]]:
    found = compare(left, right)
    return [(pair.depth, (pair.left or pair.right).name, pair.change) for pair in found]  # type: ignore[union-attr]


def test_an_unpaired_step_keeps_its_subtree() -> None:
    left = [step("1", None, "root"), step("2", "1", "a"), step("3", "2", "deep"), step("4", "1", "b")]
    right = [step("9", None, "root"), step("8", "9", "b", model="m"), step("7", "9", "c")]
    assert shown(left, right) == [
        (0, "root", "same"),
        (1, "a", "removed"),
        (2, "deep", "removed"),
        (1, "b", "changed"),
        (1, "c", "added"),
    ]
    assert shown(left, left) == [(0, "root", "same"), (1, "a", "same"), (2, "deep", "same"), (1, "b", "same")]


def test_circles_lost_parents_and_several_roots_are_each_shown_once() -> None:
    odd = [
        step("1", "2", "one"),
        step("2", "1", "two"),
        step("3", "3", "self"),
        step("4", "gone", "orphan"),
        step("5", None, "root"),
    ]
    assert sorted(name for _, name, _ in shown(odd, odd)) == ["one", "orphan", "root", "self", "two"]


def test_many_siblings_are_paired_by_number() -> None:
    many = [step("r", None, "root"), *(step(str(n), "r", f"s{n % 7}") for n in range(1_000))]
    found = compare(many, many[:-3])
    assert len(found) == 1_001
    assert [pair.change for pair in found[-4:]] == ["same", "removed", "removed", "removed"]

"""Steps as rows of a tree beside a timeline."""

from datetime import UTC, datetime
from typing import Any

from stoa.console.trace_trees import ROWS_MAX, tree

NOW = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)


def step(name: str, parent: str | None = None, begins: int = 0, ends: int | None = 1, **fields: Any) -> dict[str, Any]:
    end = {} if ends is None else {"end_time": f"2026-03-01T12:00:{ends:02}Z", "status": "succeeded"}
    start = f"2026-03-01T12:00:{begins:02}Z"
    return {"id": name, "name": name, "type": "node", "parent_run_id": parent, "start_time": start, **end, **fields}


def test_parents_come_before_their_children_and_every_step_once() -> None:
    spans = [
        step("root", ends=8),
        step("late", "root", 4, 6, prompt_tokens=3, completion_tokens=1, cost_usd=0.5, model="m"),
        step("early", "root", 1, 2),
        step("deep", "late", 5, 5),
        step("orphan", "gone", 7, 7),
        step("one", "two", 2, 3),
        step("two", "one", 2, 3),
        step("self", "self", 2, 3),
    ]
    found = tree(spans, NOW)
    assert [(row.span["name"], row.depth) for row in found.rows] == [
        ("root", 0), ("late", 1), ("deep", 2), ("early", 1), ("orphan", 0), ("self", 0), ("one", 0), ("two", 1),
    ]  # fmt: skip
    assert (found.seconds, found.tokens, found.cost, found.status) == (8.0, 4, 0.5, "succeeded")
    late = found.rows[1]
    assert (late.x, late.width, late.kind) == (160.0, 80.0, "model")


def test_a_running_trace_ends_now_and_the_worst_root_decides_its_status() -> None:
    going = tree([step("root", ends=None)], NOW)
    assert (going.status, going.seconds, going.rows[0].seconds) == ("running", 10.0, None)
    assert tree([step("a"), step("b", status="failed")], NOW).status == "failed"
    assert tree([], NOW).rows == ()


def test_a_page_shows_so_many_steps() -> None:
    found = tree([step("root"), *(step(str(n), "root") for n in range(ROWS_MAX + 10))], NOW)
    assert (len(found.rows), found.more) == (ROWS_MAX, 11)

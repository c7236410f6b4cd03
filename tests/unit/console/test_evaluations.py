"""Golden questions as people write them, drafts of arguments, and due times across a shift of the clocks."""

from typing import Any

import pytest

from stoa.console.routes.evaluations import questions
from stoa.console.routes.tools import draft
from stoa.console.routes.triggers import with_shifts


def test_a_line_is_a_question_and_the_items_that_answer_it() -> None:
    text = 'When is high tide? | tides.md\n\nA | b | c.pdf, d.pdf\n{"query": "x", "relevant": {"a": 2}}\n'
    assert questions(text) == (
        [
            {"query": "When is high tide?", "relevant": ["tides.md"]},
            {"query": "A | b", "relevant": ["c.pdf", "d.pdf"]},
            {"query": "x", "relevant": {"a": 2}},
        ],
        None,
    )


@pytest.mark.parametrize("line", ["no bar", "| items", "question |", "question | ,", "{broken", '{"query": "x"}'])
def test_a_line_that_is_none_is_named(line: str) -> None:
    assert questions(f"good | one\n{line}") == ([], 2)


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (None, {}),
        ({"properties": []}, {}),
        ({"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["b", "c"]}, {"b": 0}),
        ({"properties": {"a": {"enum": ["x", "y"]}, "b": {"default": 3}, "c": {"type": ["string", "null"]}}},
         {"a": "x", "b": 3, "c": ""}),
        ({"properties": {"a": True, "b": {"examples": []}}}, {"a": "", "b": ""}),
    ],
)  # fmt: skip
def test_a_draft_of_arguments(schema: Any, wanted: dict[str, Any]) -> None:
    assert draft(schema) == wanted


def test_a_shift_of_the_clocks_is_seen() -> None:
    due = [
        {"at": "2026-03-23T08:30:00Z", "local_time": "2026-03-23T09:30:00+01:00"},
        {"at": "2026-03-30T07:30:00Z", "local_time": "2026-03-30T09:30:00+02:00"},
        {"at": "2026-04-06T07:30:00Z", "local_time": "2026-04-06T09:30:00+02:00"},
    ]
    shown = with_shifts(due)
    assert [(one["day"], one["time"], one["offset"], one["shifted"]) for one in shown] == [
        ("2026-03-23", "09:30", "+01:00", False),
        ("2026-03-30", "09:30", "+02:00", True),
        ("2026-04-06", "09:30", "+02:00", False),
    ]

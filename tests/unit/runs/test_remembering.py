"""What a memory shows again: answers with the calls that they made, whole or not at all."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from stoa.memory import RememberedMessage
from stoa.runs.agent.remembering import MemoryUse, memory_use, recalled

FULL = MemoryUse(save="full")


def said(
    role: str, text: str, session: str = "s", calls: Sequence[str] = (), result_of: str | None = None
) -> RememberedMessage:
    made = [{"id": one, "name": "look", "arguments": "{}"} for one in calls]
    return RememberedMessage(role, text, session, datetime(2026, 1, 1, tzinfo=UTC), made, result_of)


def shown(found: Sequence[RememberedMessage], use: MemoryUse = FULL) -> list[Any]:
    return [
        (one.role, one.text, [[call["id"] for call in turn["calls"]] for turn in one.turns or ()])
        for one in recalled(found, use)
    ]


def test_an_answer_has_its_calls() -> None:
    found = [
        said("user", "Q"),
        said("assistant", "", calls=["a", "b"]),
        said("tool", "1", result_of="a"),
        said("tool", "2", result_of="b"),
        said("assistant", "A"),
    ]
    assert shown(found) == [("user", "Q", []), ("assistant", "A", [["a", "b"], []])]
    assert shown(found, MemoryUse()) == [("user", "Q", []), ("assistant", "A", [])]


def test_calls_without_results_and_results_without_calls_are_left_out() -> None:
    cut = [said("tool", "1", result_of="a"), said("assistant", "A")]
    assert shown(cut) == [("assistant", "A", [])]
    open_ = [said("user", "Q"), said("assistant", "Wait.", calls=["a"]), said("user", "Q2"), said("assistant", "A")]
    assert shown(open_) == [("user", "Q", []), ("assistant", "Wait.", []), ("user", "Q2", []), ("assistant", "A", [])]


def test_sessions_do_not_mix() -> None:
    found = [
        said("assistant", "", "s", calls=["a"]),
        said("tool", "1", "s", result_of="a"),
        said("assistant", "other", "t"),
        said("assistant", "own", "s"),
    ]
    assert shown(found) == [("assistant", "other", []), ("assistant", "own", [["a"], []])]


def test_the_mode_is_one_of_two() -> None:
    backend = {"memory_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    full = memory_use({"backend": backend, "save_mode": "full"})
    assert full is not None
    assert full.save == "full"
    with pytest.raises(ValueError, match="save_mode"):
        memory_use({"backend": backend, "save_mode": "all"})

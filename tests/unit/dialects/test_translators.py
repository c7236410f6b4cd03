"""Golden transcripts of each dialect, from one set of runs; and what holds of each whatever the run.

To accept a change on purpose: `STOA_UPDATE_GOLDEN=1 make test`, then read the difference before it is committed.
"""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from stoa.dialects.a2a import translator as a2a
from stoa.dialects.a2a.shapes import Vocabulary
from stoa.dialects.agui import translator as agui
from stoa.dialects.completions import translator as completions
from stoa.dialects.responses import translator as responses
from stoa.dialects.ui_messages import translator as ui_messages
from stoa.events import Event, EventType, StoredEvent, decode, encode

GOLDEN = Path(__file__).parent / "golden"
RUN = UUID("00000000-0000-7000-8000-000000000001")
CALLS = [str(UUID(int=number)) for number in range(1, 4)]
HEAD = {"id": f"resp_{RUN.hex}", "object": "response", "created_at": 1, "model": "m"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

Events = list[tuple[EventType, dict[str, Any]]]
E = EventType


def began() -> tuple[EventType, dict[str, Any]]:
    return E.RUN_STARTED, {"id": str(RUN), "object": "run", "status": "started"}


def said(delta: str, iteration: int = 1) -> tuple[EventType, dict[str, Any]]:
    return E.RESPONSE_DELTA, {"object": "agent.response.delta", "delta": delta, "iteration": iteration}


def thought(delta: str, iteration: int = 1) -> tuple[EventType, dict[str, Any]]:
    return E.REASONING_DELTA, {"object": "agent.reasoning.delta", "delta": delta, "iteration": iteration}


def called(number: int, kind: str, *pieces: str, iteration: int = 1) -> Events:
    about = {"id": CALLS[number], "object": "agent.tool_call"}
    tool = {"name": f"tool_{number}", "type": kind}
    begun = (E.TOOL_CALL_STARTED, {**about, "tool": tool, "iteration": iteration})
    return [begun, *((E.TOOL_CALL_INPUT_DELTA, {**about, "delta": piece}) for piece in pieces)]


def settled(number: int, kind: str, arguments: dict[str, Any], **outcome: Any) -> tuple[EventType, dict[str, Any]]:
    about = {"id": CALLS[number], "object": "agent.tool_call", "tool": {"name": f"tool_{number}", "type": kind}}
    event = E.TOOL_CALL_FAILED if "error" in outcome else E.TOOL_CALL_COMPLETED
    return event, {**about, "input": arguments, "iteration": 1, **outcome}


def ended(event: EventType = E.RUN_COMPLETED, **more: Any) -> tuple[EventType, dict[str, Any]]:
    status = {E.RUN_COMPLETED: "completed", E.RUN_FAILED: "failed", E.RUN_CANCELED: "canceled"}[event]
    return event, {"id": str(RUN), "object": "run", "status": status, "usage": USAGE, **more}


SEARCH = '[{"source": "a.md", "item_id": "i", "text": "Found."}]'
RUNS: dict[str, Events] = {
    "plain": [began(), thought("Hm"), thought("."), said("Hel"), said(""), said("lo."), ended(finish_reason="stop")],
    "tools": [
        began(),
        said("Let me see."),
        *called(0, "http", '{"a"', ":1}"),
        *called(1, "knowledge_base", '{"query":"q"}'),
        *called(2, "http", "{}"),
        settled(1, "knowledge_base", {"query": "q"}, result=SEARCH),
        settled(0, "http", {"a": 1}, result="one"),
        settled(2, "http", {}, error={"code": "tool_failed", "message": "No."}),
        said("Done.", 2),
        ended(),
    ],
    "client_tools": [
        began(),
        said("I ask."),
        *called(0, "client", '{"city":', '"Paris"}'),
        *called(1, "client"),
        ended(finish_reason="tool_calls"),
    ],
    "approval": [
        began(),
        *called(0, "http", "{}"),
        (
            E.APPROVAL_REQUEST_CREATED,
            {
                "id": CALLS[2],
                "object": "approval_request",
                "prompt": "Allow?",
                "params": {},
                "editable_params": [],
                "tool_call_id": CALLS[0],
            },
        ),
        (E.RUN_PAUSED, {"id": str(RUN), "object": "run", "status": "paused"}),
        (E.RUN_RESUMED, {"id": str(RUN), "object": "run", "status": "started"}),
        settled(0, "http", {}, result="one"),
        said("Done.", 2),
        ended(),
    ],
    "recovered": [
        began(),
        said("Half an ans"),
        (E.RUN_RECOVERED, {"id": str(RUN), "object": "run", "attempt": 2, "discard_from": 2}),
        said("A whole answer."),
        ended(),
    ],
    "failed": [
        began(),
        said("Half"),
        *called(0, "client", '{"a":'),
        ended(E.RUN_FAILED, error={"code": "model_overloaded", "message": "Too busy.", "retryable": True}),
    ],
    "canceled": [began(), thought("Hm"), ended(E.RUN_CANCELED, reason="user")],
    "length": [began(), said("On and on"), ended(finish_reason="length")],
    "subagent": [
        began(),
        (E.SUBAGENT_STARTED, {"id": CALLS[0], "object": "agent.subagent", "name": "subagent", "brief": "b"}),
        (E.RESPONSE_DELTA, {"delta": "inner", "iteration": 1, "source": {"id": CALLS[0], "name": "subagent"}}),
        (E.SUBAGENT_COMPLETED, {"id": CALLS[0], "object": "agent.subagent", "name": "subagent", "result": "r"}),
        said("Outer.", 2),
        ended(),
    ],
}


def events_of(name: str) -> list[StoredEvent]:
    """As the journal gives them back."""
    tail = b"0000-7000-8000-000000000001"
    out: list[StoredEvent] = []
    for sequence, (kind, data) in enumerate(RUNS[name], 1):
        stamp = b"2026-06-10T09:11:%02dZ" % sequence
        out.append(decode(kind, encode(Event(kind, data), tail, sequence, stamp)))
    return out


class Translator:
    """One dialect: frames, and their bytes."""

    def __init__(self, make: Callable[[], Any], encode_: Callable[[Sequence[dict[str, Any]]], bytes]) -> None:
        self.make = make
        self.encode = encode_


DIALECTS = {
    "responses": Translator(
        lambda: responses.ResponseTranslator(RUN, HEAD, results=True), lambda made: responses.encode(made)
    ),
    "agui": Translator(lambda: agui.AguiTranslator("thread", "run"), agui.encode),
    "ui_messages": Translator(lambda: ui_messages.UiMessageTranslator("msg-1"), ui_messages.encode),
    "completions": Translator(
        lambda: completions.CompletionTranslator("chatcmpl_1", 1, "m", usage=True),
        lambda made: completions.Numbered(0).encode(made),
    ),
    "a2a": Translator(
        lambda: a2a.A2aTranslator(Vocabulary("0.3"), "task", "context"), lambda made: a2a.encode(made, 7)
    ),
    "a2a_v1": Translator(
        lambda: a2a.A2aTranslator(Vocabulary("1.0"), "task", "context"), lambda made: a2a.encode(made, 7)
    ),
}


def transcript(dialect: str, run: str) -> bytes:
    made = DIALECTS[dialect]
    return made.encode(made.make().take(events_of(run)))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_golden(dialect: str, run: str) -> None:
    path = GOLDEN / f"{dialect}-{run}.sse"
    seen = transcript(dialect, run)
    if os.environ.get("STOA_UPDATE_GOLDEN"):
        path.write_bytes(seen)
    assert seen == path.read_bytes()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_events_may_be_split_anywhere(dialect: str, run: str) -> None:
    made = DIALECTS[dialect]
    one = made.make()
    pieces = made.encode([frame for event in events_of(run) for frame in one.take([event])])
    assert pieces == transcript(dialect, run)


def frames(dialect: str, run: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = DIALECTS[dialect].make().take(events_of(run))
    return made


@pytest.mark.parametrize("run", RUNS)
def test_responses_announce_each_item_once_and_close_it(run: str) -> None:
    made = frames("responses", run)
    assert [frame["sequence_number"] for frame in made] == list(range(len(made)))
    open_: dict[int, str] = {}
    ended_: list[int] = []
    for frame in made:
        if frame["type"] == "response.output_item.added":
            assert frame["output_index"] == len(open_) + len(ended_)
            open_[frame["output_index"]] = frame["item"]["id"]
        elif frame["type"] == "response.output_item.done":
            assert open_.pop(frame["output_index"]) == frame["item"]["id"]
            ended_.append(frame["output_index"])
        elif "item_id" in frame:
            assert open_[frame["output_index"]] == frame["item_id"]
            assert frame.get("delta", "-")
    assert not open_
    output = made[-1]["response"]["output"]
    assert [item["id"] for item in output] == [
        frame["item"]["id"] for frame in made if frame["type"] == "response.output_item.added"
    ]
    assert made[-1]["type"] in ("response.completed", "response.incomplete", "response.failed")


def test_a_response_resumes_after_any_frame() -> None:
    made = frames("responses", "tools")
    whole = responses.encode(made)
    for before, after in pairwise(range(len(made) + 1)):
        rest = responses.encode(made, after=before)
        assert whole.endswith(rest)
        assert rest.count(b"\n\n") == len(made) - after


def test_a_void_answer_keeps_its_place_and_loses_its_content() -> None:
    output = frames("responses", "recovered")[-1]["response"]["output"]
    assert output[0]["content"] == []
    assert output[0]["status"] == "incomplete"
    assert output[1]["content"][0]["text"] == "A whole answer."


def test_an_answer_that_did_not_satisfy_the_schema_is_void() -> None:
    translator = responses.ResponseTranslator(RUN, HEAD, structured=True)
    RUNS["repaired"] = [began(), said("{"), said("{}", 2), ended()]
    try:
        output = translator.take(events_of("repaired"))[-1]["response"]["output"]
    finally:
        del RUNS["repaired"]
    assert [item["content"] and item["content"][0]["text"] for item in output] == [[], "{}"]


@pytest.mark.parametrize("run", RUNS)
def test_agui_opens_and_closes_what_it_begins(run: str) -> None:
    """As its client verifies it: texts do not overlap, deltas are not empty, nothing is open at the end."""
    made = frames("agui", run)
    assert made[0]["type"] == "RUN_STARTED"
    assert made[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    text: str | None = None
    calls: set[str] = set()
    for frame in made[1:-1]:
        match frame["type"]:
            case "TEXT_MESSAGE_START":
                assert text is None
                assert not calls
                text = frame["messageId"]
            case "TEXT_MESSAGE_CONTENT":
                assert frame["messageId"] == text
                assert frame["delta"]
            case "TEXT_MESSAGE_END":
                assert frame["messageId"] == text
                text = None
            case "TOOL_CALL_START":
                assert text is None
                calls.add(frame["toolCallId"])
            case "TOOL_CALL_ARGS":
                assert frame["toolCallId"] in calls
                assert frame["delta"]
            case "TOOL_CALL_END":
                calls.remove(frame["toolCallId"])
            case "TOOL_CALL_RESULT":
                assert frame["toolCallId"] not in calls
            case _:
                pass
    assert text is None
    assert not calls


@pytest.mark.parametrize("run", RUNS)
def test_ui_messages_open_and_close_what_they_begin(run: str) -> None:
    made = frames("ui_messages", run)
    assert made[0]["type"] == "start"
    assert made[-1]["type"] in ("finish", "error", "abort")
    open_: set[str] = set()
    step = False
    for frame in made:
        kind = frame["type"]
        if kind == "start-step":
            assert not step
            step = True
        elif kind == "finish-step":
            assert not open_
            step = False
        elif kind.endswith("-start") and "id" in frame:
            assert step
            open_.add(frame["id"])
        elif kind.endswith("-delta") and "id" in frame:
            assert frame["id"] in open_
            assert frame["delta"]
        elif kind.endswith("-end"):
            open_.remove(frame["id"])
    assert not open_
    assert not step


def test_the_clients_own_tools_are_left_to_the_client() -> None:
    inputs = [frame for frame in frames("ui_messages", "client_tools") if frame["type"] == "tool-input-available"]
    assert [(frame["input"], "providerExecuted" in frame) for frame in inputs] == [
        ({"city": "Paris"}, False),
        ({}, False),
    ]
    served = [frame for frame in frames("ui_messages", "tools") if frame["type"] == "tool-input-available"]
    assert all(frame["providerExecuted"] and frame["dynamic"] for frame in served)


def test_a2a_takes_back_what_is_void() -> None:
    updates = [frame for frame in frames("a2a", "recovered") if frame.get("kind") == "artifact-update"]
    held = ""
    for update in updates:
        text = "".join(part["text"] for part in update["artifact"]["parts"])
        held = held + text if update["append"] else text
    assert held == "A whole answer."
    assert frames("a2a", "recovered")[-1]["final"] is True


def test_frames_are_json_with_nothing_of_ours_that_a_client_would_not_know() -> None:
    for dialect in DIALECTS:
        for run in RUNS:
            for line in transcript(dialect, run).split(b"\n"):
                if line.startswith(b"data: "):
                    assert orjson.loads(line[6:])


def test_two_generations_are_never_spliced_into_one_completion() -> None:
    """A client of this dialect cannot take back what it has: the answer ends in an error instead."""
    made = frames("completions", "recovered")
    assert "".join(frame["choices"][0]["delta"].get("content", "") for frame in made if "choices" in frame) == (
        "Half an ans"
    )
    assert made[-1]["error"]["code"] == "server_error"

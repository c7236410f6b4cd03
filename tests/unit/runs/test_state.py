"""A run's state survives JSON; what later models read pairs every call with a result; what does not fit is
shortened."""

import orjson

from stoa.gateway import ModelMessage, ModelRequest, TextPart, ToolCallPart, ToolResultPart, Usage
from stoa.runs.agent.checkpoint import AgentState, CallState, RunCheckpoint, Turn, turns_json
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.prompting import request, turn_messages


def state() -> RunCheckpoint:
    child = AgentState([Turn("Found it.")], 1, brief="Look")
    calls = [
        CallState("c1", "search", '{"q": "x"}', begun=True, result="hit"),
        CallState("c2", "delegate", "{}", child=child),
        CallState("c3", "pay", "{bad", begun=True, asked=1, request_id="r", params={"amount": 1}),
        CallState("c4", "fail", "{}", error={"code": "tool_failed", "message": "no"}),
    ]
    return RunCheckpoint(
        AgentState([Turn("Let me see.", calls), Turn(note="Again, please.")], 2, repaired=True),
        Usage(1, 2, 3, 4, estimated=True),
        0.25,
    )


def test_to_json_and_back() -> None:
    assert RunCheckpoint.of(orjson.loads(orjson.dumps(state().as_json()))) == state()
    assert RunCheckpoint.of(None) == RunCheckpoint()


def test_every_call_has_its_result() -> None:
    turns = turns_json(state().agent)
    assert turns is not None
    replayed = turn_messages([Turn.replayed(turn) for turn in orjson.loads(orjson.dumps(turns))])
    called = [part.id for message in replayed for part in message.parts if isinstance(part, ToolCallPart)]
    results = {part.id: part for message in replayed for part in message.parts if isinstance(part, ToolResultPart)}
    assert called == list(results) == ["c1", "c2", "c3", "c4"]
    assert [results[one].failed for one in called] == [False, True, True, True]
    assert results["c2"].result.startswith("The run ended while a subagent")
    arguments = [
        part.arguments
        for message in turn_messages(state().agent.turns)
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    assert all(isinstance(orjson.loads(one), dict) for one in arguments)
    assert arguments[2] == '{"amount":1}'


def test_a_text_alone_needs_no_replay() -> None:
    assert turns_json(AgentState([Turn("Just words.")])) is None


def test_old_results_are_shortened_before_anything_is_lost() -> None:
    turns = [Turn("", [CallState(f"c{number}", "read", "{}", result="x" * 4_000)]) for number in range(6)]
    made, shortened = request(
        ModelRequest([ModelMessage("user", (TextPart("Hi"),))]), Agent(), AgentState(turns), (), 4_000
    )
    sizes = [
        len(part.result) for message in made.messages for part in message.parts if isinstance(part, ToolResultPart)
    ]
    assert 0 < shortened < 6
    assert sizes[:shortened] == [sizes[0]] * shortened
    assert sizes[0] < 500
    assert sizes[-1] == 4_000
    assert sum(sizes) // 4 < 4_000
    assert request(ModelRequest([]), Agent(), AgentState(turns), (), 100_000)[1] == 0

"""The closed vocabulary of run events (contract section 4.2): pure data.

An event is a kind and the `data` that goes out. Sequence, time and id are given by the journal when it is written.
Kinds are stored as numbers; a number is never reused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


class EventType(IntEnum):
    RUN_STARTED = 1
    REASONING_DELTA = 2
    RESPONSE_DELTA = 3
    TOOL_CALL_STARTED = 4
    TOOL_CALL_INPUT_DELTA = 5
    TOOL_CALL_COMPLETED = 6
    TOOL_CALL_FAILED = 7
    SUBAGENT_STARTED = 8
    SUBAGENT_COMPLETED = 9
    SUBAGENT_FAILED = 10
    HUMAN_FEEDBACK_REQUESTED = 11
    APPROVAL_REQUEST_CREATED = 12
    RUN_PAUSED = 13
    RUN_RESUMED = 14
    RUN_RECOVERED = 15
    RUN_COMPLETED = 16
    RUN_FAILED = 17
    RUN_CANCELED = 18
    CONTEXT_COMPACTED = 19


NAMES: Final[Mapping[EventType, str]] = {
    EventType.RUN_STARTED: "run.started",
    EventType.REASONING_DELTA: "agent.reasoning.delta",
    EventType.RESPONSE_DELTA: "agent.response.delta",
    EventType.TOOL_CALL_STARTED: "agent.tool_call.started",
    EventType.TOOL_CALL_INPUT_DELTA: "agent.tool_call.input.delta",
    EventType.TOOL_CALL_COMPLETED: "agent.tool_call.completed",
    EventType.TOOL_CALL_FAILED: "agent.tool_call.failed",
    EventType.SUBAGENT_STARTED: "agent.subagent.started",
    EventType.SUBAGENT_COMPLETED: "agent.subagent.completed",
    EventType.SUBAGENT_FAILED: "agent.subagent.failed",
    EventType.HUMAN_FEEDBACK_REQUESTED: "agent.human_feedback.requested",
    EventType.APPROVAL_REQUEST_CREATED: "approval_request.created",
    EventType.RUN_PAUSED: "run.paused",
    EventType.RUN_RESUMED: "run.resumed",
    EventType.RUN_RECOVERED: "run.recovered",
    EventType.RUN_COMPLETED: "run.completed",
    EventType.RUN_FAILED: "run.failed",
    EventType.RUN_CANCELED: "run.canceled",
    EventType.CONTEXT_COMPACTED: "agent.context.compacted",
}

TERMINAL: Final = frozenset({EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELED})
DELTAS: Final = frozenset({EventType.REASONING_DELTA, EventType.RESPONSE_DELTA})
"""Kinds whose `delta` strings may be joined: neighbours of the same iteration that meet in a tick become one event."""


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventType
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of reasoning or response: the hot case, kept apart so that joining two is adding two strings."""

    kind: EventType
    delta: str
    iteration: int

"""Pure decisions about runs: transitions of the state, limits, the data of the terminal event."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from stoa.events import Event, EventType, Unencodable
from stoa.gateway import Usage
from stoa.kernel.errors import BadRequest
from stoa.kernel.storable import as_storable, as_storable_value, is_storable
from stoa.runs.types import InputRequest, Outcome, RunError, RunStatus

MOVES: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.CREATED: frozenset({RunStatus.STARTED, RunStatus.CANCELED}),
    RunStatus.STARTED: frozenset({RunStatus.PAUSED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED}),
    RunStatus.PAUSED: frozenset({RunStatus.STARTED, RunStatus.FAILED, RunStatus.CANCELED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELED: frozenset(),
}

ACTIVE: Final = frozenset({RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED})
HISTORY_MESSAGES_MAX: Final = 400
FIGURES_MAX: Final = timedelta(days=92)
POINTS_MAX: Final = 1_000
"""Intervals of a series of an app's metrics."""
FIGURE_RUNS_MAX: Final = 100_000
"""Runs that one request for an app's metrics reads: the newest of the period."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
CANCEL_WAIT_SECONDS: Final = 6.0
"""A living owner answers a cancel in milliseconds; after a lease it counts as dead, and the canceling node ends the
run."""

TERMINAL_TYPES: Final[Mapping[RunStatus, EventType]] = {
    RunStatus.COMPLETED: EventType.RUN_COMPLETED,
    RunStatus.FAILED: EventType.RUN_FAILED,
    RunStatus.CANCELED: EventType.RUN_CANCELED,
}


def started(run_id: UUID, conversation_id: UUID, message_id: UUID) -> Event:
    about = {"conversation_id": str(conversation_id), "message_id": str(message_id)}
    return Event(EventType.RUN_STARTED, {"id": str(run_id), "object": "run", "status": "started", **about})


def paused(run_id: UUID) -> Event:
    return Event(EventType.RUN_PAUSED, {"id": str(run_id), "object": "run", "status": "paused"})


def resumed(run_id: UUID) -> Event:
    return Event(EventType.RUN_RESUMED, {"id": str(run_id), "object": "run", "status": "started"})


def recovered(run_id: UUID, attempt: int, discard_from: int) -> Event:
    return Event(
        EventType.RUN_RECOVERED, {"id": str(run_id), "object": "run", "attempt": attempt, "discard_from": discard_from}
    )


def terminal(run_id: UUID, outcome: Outcome, events: int, sha256: str) -> Event:
    """The terminal event. `log` lets a client verify that it has received the whole run."""
    data: dict[str, Any] = {"id": str(run_id), "object": "run", "status": outcome.status.value}
    if outcome.status is RunStatus.COMPLETED:
        data["output"] = outcome.output
        if outcome.result is not None:
            data["result"] = outcome.result
        if outcome.finish_reason is not None:
            data["finish_reason"] = outcome.finish_reason
    elif outcome.status is RunStatus.FAILED:
        assert outcome.error is not None
        data["error"] = outcome.error.as_json()
    else:
        data["reason"] = outcome.reason or "user"
    return Event(
        TERMINAL_TYPES[outcome.status], data | {"usage": outcome.usage, "log": {"events": events, "sha256": sha256}}
    )


def made_storable(outcome: Outcome, refusal: Exception) -> Outcome:
    """The outcome as `failed`, without values that cannot be stored, for a run whose own end was refused."""
    message = as_storable(f"The run produced something that cannot be stored: {refusal}")
    error = (
        RunError(Unencodable.code, message)
        if outcome.error is None
        else RunError(as_storable(outcome.error.code), as_storable(outcome.error.message), outcome.error.retryable)
    )
    return replace(
        outcome,
        status=RunStatus.FAILED,
        output=as_storable(outcome.output),
        usage=as_storable_value(outcome.usage),
        error=error,
        turns=None if outcome.turns is None else as_storable_value(outcome.turns),
        result=None,
    )


def usage_json(usage: Usage, cost_usd: float | None = None, finish_reason: str | None = None) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens:
        counts["cached_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens:
        counts["reasoning_tokens"] = usage.reasoning_tokens
    if usage.estimated:
        counts["estimated"] = True
    if cost_usd is not None:
        counts["cost_usd"] = round(cost_usd, 9)
    if finish_reason is not None:
        counts["finish_reason"] = finish_reason
    return counts


def checked_params(request: InputRequest, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """A person's changed arguments, if each may be changed. Raises BadRequest naming the field."""
    for name, value in params.items():
        if name not in request.params and name not in request.editable_params:
            raise BadRequest.field(f"data.params.{name}", "is no parameter of this request")
        if name not in request.editable_params and value != request.params.get(name):
            allowed = ", ".join(request.editable_params) or "none"
            raise BadRequest.field(f"data.params.{name}", f"cannot be changed; editable parameters: {allowed}")
        if not is_storable(value):
            problem = (
                "cannot be stored: it holds a number beyond 64 bits, a NUL, half a character, or lists nested too deep"
            )
            raise BadRequest.field(f"data.params.{name}", problem)
    return {name: value for name, value in params.items() if name in request.editable_params}


def interval_seconds(interval: str, begins: datetime, ends: datetime) -> int:
    """The seconds of an interval of an app's metrics. Raises BadRequest naming the invalid parameter."""
    number, unit = interval[:-1], _UNITS.get(interval[-1:])
    if unit is None or not (number.isascii() and number.isdigit()) or not int(number):
        raise BadRequest.field("interval", "must be a number with s, m, h or d: 5m, 1h, 1d")
    seconds = int(number) * unit
    if begins >= ends:
        raise BadRequest.field("start_time", "must be before end_time")
    if ends - begins > FIGURES_MAX:
        raise BadRequest.field("start_time", f"must be at most {FIGURES_MAX.days} days before end_time")
    if (ends - begins).total_seconds() / seconds > POINTS_MAX:
        raise BadRequest.field("interval", f"makes more than {POINTS_MAX} points of this time; take a longer one")
    return seconds


def misfit(changed: Mapping[str, Any], problem: str) -> BadRequest:
    """The refusal of a person's changed arguments that do not match the tool's schema."""
    field = f"data.params.{next(iter(changed))}" if len(changed) == 1 else "data.params"
    return BadRequest.field(field, f"does not fit: {problem}; the request is still open")

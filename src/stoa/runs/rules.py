"""Pure decisions about runs: what may follow what, when to give up, what a terminal event says."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from stoa.events import Event, EventType
from stoa.gateway import Usage
from stoa.kernel.errors import BadRequest
from stoa.runs.types import InputRequest, Outcome, RunStatus
from stoa.tools import argument_problem

MOVES: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.CREATED: frozenset({RunStatus.STARTED, RunStatus.CANCELED}),
    RunStatus.STARTED: frozenset({RunStatus.PAUSED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED}),
    RunStatus.PAUSED: frozenset({RunStatus.STARTED, RunStatus.FAILED, RunStatus.CANCELED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELED: frozenset(),
}

ACTIVE: Final = frozenset({RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED})
ATTEMPTS_MAX: Final = 3
LEASE_SECONDS: Final = 4.0
"""With a look of the others every half second, a run whose node froze goes on elsewhere within five seconds."""
RENEW_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.5
HISTORY_MESSAGES_MAX: Final = 400
CANCEL_WAIT_SECONDS: Final = 6.0
"""A live owner answers a cancel in milliseconds; past a lease it is dead, and the canceller ends the run itself."""

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
    """The last event. `log` lets a client prove that it has seen the whole run."""
    data: dict[str, Any] = {"id": str(run_id), "object": "run", "status": outcome.status.value}
    if outcome.status is RunStatus.COMPLETED:
        data["output"] = outcome.output
    elif outcome.status is RunStatus.FAILED:
        assert outcome.error is not None
        data["error"] = outcome.error.as_json()
    else:
        data["reason"] = outcome.reason or "user"
    return Event(
        TERMINAL_TYPES[outcome.status], data | {"usage": outcome.usage, "log": {"events": events, "sha256": sha256}}
    )


def usage_json(usage: Usage, cost_usd: float | None = None) -> dict[str, Any]:
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
    return counts


def checked_params(request: InputRequest, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a person changed, when each of it may be changed. Raises BadRequest naming the field."""
    for name, value in params.items():
        if name not in request.params and name not in request.editable_params:
            raise BadRequest.field(f"data.params.{name}", "is no parameter of this request")
        if name not in request.editable_params and value != request.params.get(name):
            allowed = ", ".join(request.editable_params) or "none"
            raise BadRequest.field(f"data.params.{name}", f"cannot be changed; editable parameters: {allowed}")
    changed = {name: value for name, value in params.items() if name in request.editable_params}
    if changed and request.schema is not None:
        problem = argument_problem({**request.params, **changed}, request.schema)
        if problem is not None:
            field = f"data.params.{next(iter(changed))}" if len(changed) == 1 else "data.params"
            raise BadRequest.field(field, f"does not fit: {problem}; the request is still open")
    return changed

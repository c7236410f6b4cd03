"""Field names and values of both protocol versions: 0.3 (`kind`, `completed`) and 1.0 (`TASK_STATE_COMPLETED`, no
`kind`). Pure."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from stoa.runs import RunStatus

Version = Literal["0.3", "1.0"]
STATES: Final[Mapping[RunStatus, str]] = {
    RunStatus.CREATED: "submitted",
    RunStatus.STARTED: "working",
    RunStatus.PAUSED: "input-required",
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELED: "canceled",
}
STATES_1: Final[Mapping[str, str]] = {
    "submitted": "TASK_STATE_SUBMITTED",
    "working": "TASK_STATE_WORKING",
    "input-required": "TASK_STATE_INPUT_REQUIRED",
    "completed": "TASK_STATE_COMPLETED",
    "failed": "TASK_STATE_FAILED",
    "canceled": "TASK_STATE_CANCELED",
}


class Words:
    """The vocabulary of one version."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self._old = version == "0.3"

    def kind(self, kind: str) -> dict[str, str]:
        return {"kind": kind} if self._old else {}

    def state(self, state: str) -> str:
        return state if self._old else STATES_1[state]

    def text(self, text: str) -> dict[str, Any]:
        return {**self.kind("text"), "text": text}

    def data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.kind("data"), "data": dict(data)}

    def role(self, role: str) -> str:
        return role if self._old else f"ROLE_{role.upper()}"

    def message(
        self, message_id: str, task: str, context: str, parts: list[dict[str, Any]], role: str = "agent"
    ) -> dict[str, Any]:
        about = {"messageId": message_id, "role": self.role(role), "taskId": task, "contextId": context}
        return {**self.kind("message"), **about, "parts": parts}

    def wrapped(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """One event of a stream, or the result of a send. Version 1.0 wraps it in a field that names its kind."""
        return dict(value) if self._old else {name: dict(value)}

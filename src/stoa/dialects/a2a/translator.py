"""Translates a run's events to A2A's task updates. Pure.

A task is a run, a context its conversation, and the answer one artifact. When a node's death makes text void, the
artifact is sent again from its start (`append: false`).
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from stoa.dialects.a2a.shapes import Words
from stoa.dialects.translating import Translator
from stoa.events import EventType, StoredEvent

ANSWER: Final = "answer"
_ENDS: Final = {
    EventType.RUN_COMPLETED: "completed",
    EventType.RUN_FAILED: "failed",
    EventType.RUN_CANCELED: "canceled",
}


class A2aTranslator(Translator):
    """Takes every event of a run once, in order."""

    def __init__(self, words: Words, task: str, context: str) -> None:
        super().__init__()
        self._words = words
        self._task = task
        self._context = context
        self._state = "submitted"
        self._timestamp: str | None = None
        self._question: dict[str, Any] | None = None
        self._pieces: list[tuple[int, str]] = []

    def task(self) -> dict[str, Any]:
        """The current state of the task."""
        return {
            **self._words.kind("task"),
            "id": self._task,
            "contextId": self._context,
            "status": self._status(),
            "artifacts": answer_artifacts(self._words, "".join(text for _, text in self._pieces)),
        }

    def _take(self, event: StoredEvent) -> None:
        data = event.data
        self._timestamp = event.timestamp
        match event.type:
            case EventType.RESPONSE_DELTA if data["delta"]:
                self._answer(data["delta"], append=bool(self._pieces))
                self._pieces.append((event.sequence, data["delta"]))
            case EventType.RUN_STARTED:
                self._state = "working"
                self._made.append(self._words.wrapped("task", self.task()))
            case EventType.APPROVAL_REQUEST_CREATED | EventType.HUMAN_FEEDBACK_REQUESTED:
                parts = [self._words.text(data["prompt"]), self._words.data(data)]
                self._question = self._words.message(str(data["id"]), self._task, self._context, parts)
            case EventType.RUN_PAUSED:
                self._move("input-required")
            case EventType.RUN_RESUMED:
                self._question = None
                self._move("working")
            case EventType.RUN_RECOVERED:
                kept = [(sequence, text) for sequence, text in self._pieces if sequence < data["discard_from"]]
                if len(kept) < len(self._pieces):
                    self._pieces = kept
                    self._answer("".join(text for _, text in kept), append=False)
            case EventType.RUN_COMPLETED | EventType.RUN_FAILED | EventType.RUN_CANCELED:
                self._question = None
                if event.type is EventType.RUN_FAILED:
                    parts = [self._words.text(data["error"]["message"])]
                    self._question = self._words.message(f"error-{self._task}", self._task, self._context, parts)
                if self._pieces:
                    self._answer("", append=True, last=True)
                self._move(_ENDS[event.type], final=True)
            case _:
                pass

    def _status(self) -> dict[str, Any]:
        held = {"state": self._words.state(self._state), "timestamp": self._timestamp, "message": self._question}
        return {name: value for name, value in held.items() if value is not None}

    def _move(self, state: str, *, final: bool = False) -> None:
        self._state = state
        update: dict[str, Any] = {"taskId": self._task, "contextId": self._context, "status": self._status()}
        if self._words.version == "0.3":
            update |= {"kind": "status-update", "final": final}
        self._made.append(self._words.wrapped("statusUpdate", update))

    def _answer(self, text: str, *, append: bool, last: bool = False) -> None:
        artifact = {"artifactId": ANSWER, "name": ANSWER, "parts": [self._words.text(text)]}
        update = {
            **self._words.kind("artifact-update"),
            "taskId": self._task,
            "contextId": self._context,
            "artifact": artifact,
            "append": append,
            "lastChunk": last,
        }
        self._made.append(self._words.wrapped("artifactUpdate", update))


def answer_artifacts(words: Words, text: str) -> list[dict[str, Any]]:
    return [{"artifactId": ANSWER, "name": ANSWER, "parts": [words.text(text)]}] if text else []


def encode(updates: Sequence[dict[str, Any]], request_id: Any) -> bytes:
    """Encodes updates as the stream of answers to one JSON-RPC request."""
    return b"".join(
        b"data: %b\n\n" % orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": update}) for update in updates
    )

"""Translates a run's events to those of AG-UI (CopilotKit's front-ends). Pure.

    RUN_STARTED, RUN_FINISHED, RUN_ERROR     run.started, run.completed and run.canceled, run.failed
    TEXT_MESSAGE_START, _CONTENT, _END       agent.response.delta, one message for each reply of the model
    REASONING_…                              agent.reasoning.delta
    TOOL_CALL_START, _ARGS, _END, _RESULT    tool calls; calls of the client's own tools have no result here
    CUSTOM                                   what AG-UI has no event for: questions to people, a recovery

A client builds its state from the first event on, so a stream always starts there.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from stoa.dialects.translating import Translator
from stoa.events import EventType, StoredEvent

ASKED: Final = "stoa.input_requested"
DISCARDED: Final = "stoa.discarded"
"""`value.messageIds`: the text of these messages is void and is generated again, because a node died."""


class AguiTranslator(Translator):
    """Takes every event of a run once, in order."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        """The ids that the client gave."""
        super().__init__()
        self._thread_id = thread_id
        self._run_id = run_id
        self._text: tuple[str, int] | None = None
        self._thought: str | None = None
        self._parent = (-1, "")
        """The reply that the next call belongs to: its iteration, and its message."""
        self._open: dict[str, int] = {}
        """Calls with unfinished arguments, with the event that began each."""
        self._bare: set[str] = set()
        """Those of them that have no arguments so far."""
        self._said: dict[str, int] = {}

    def _take(self, event: StoredEvent) -> None:
        data = event.data
        match event.type:
            case EventType.RESPONSE_DELTA:
                self._say(event)
            case EventType.REASONING_DELTA:
                self._think(event)
            case EventType.TOOL_CALL_STARTED:
                self._begin_call(event)
            case EventType.TOOL_CALL_INPUT_DELTA:
                if data["delta"] and data["id"] in self._open:
                    self._bare.discard(data["id"])
                    self._frame("TOOL_CALL_ARGS", toolCallId=data["id"], delta=data["delta"])
            case EventType.TOOL_CALL_COMPLETED | EventType.TOOL_CALL_FAILED:
                self._result(event)
            case EventType.RUN_STARTED:
                self._frame("RUN_STARTED", threadId=self._thread_id, runId=self._run_id)
            case EventType.APPROVAL_REQUEST_CREATED | EventType.HUMAN_FEEDBACK_REQUESTED:
                self._close()
                self._frame("CUSTOM", name=ASKED, value=dict(data))
            case EventType.RUN_RECOVERED:
                self._discard(int(data["discard_from"]))
            case EventType.RUN_COMPLETED | EventType.RUN_CANCELED:
                self._close(whole=event.type is EventType.RUN_COMPLETED)
                result = {"status": data["status"], "usage": data.get("usage")}
                self._frame("RUN_FINISHED", threadId=self._thread_id, runId=self._run_id, result=result)
            case EventType.RUN_FAILED:
                self._close(whole=False)
                self._frame("RUN_ERROR", message=data["error"]["message"], code=data["error"]["code"])
            case _:
                pass

    # --- texts ------------------------------------------------------------------------------------------------------
    def _say(self, event: StoredEvent) -> None:
        delta, iteration = event.data["delta"], int(event.data.get("iteration", 0))
        if not delta:  # Clients reject an empty delta.
            return
        self._close_thought()
        if self._text is not None and self._text[1] != iteration:
            self._close_text()
        if self._text is None:
            self._close_calls()
            self._text = f"msg-{self._run_id}-{event.sequence}", iteration
            self._said[self._text[0]] = event.sequence
            self._parent = iteration, self._text[0]
            self._frame("TEXT_MESSAGE_START", messageId=self._text[0], role="assistant")
        self._frame("TEXT_MESSAGE_CONTENT", messageId=self._text[0], delta=delta)

    def _think(self, event: StoredEvent) -> None:
        if not event.data["delta"]:
            return
        if self._thought is None:
            self._close()
            self._thought = f"thought-{self._run_id}-{event.sequence}"
            self._frame("REASONING_START", messageId=self._thought)
            self._frame("REASONING_MESSAGE_START", messageId=self._thought, role="reasoning")
        self._frame("REASONING_MESSAGE_CONTENT", messageId=self._thought, delta=event.data["delta"])

    def _close_text(self) -> None:
        if self._text is not None:
            self._frame("TEXT_MESSAGE_END", messageId=self._text[0])
            self._text = None

    def _close_thought(self) -> None:
        if self._thought is not None:
            self._frame("REASONING_MESSAGE_END", messageId=self._thought)
            self._frame("REASONING_END", messageId=self._thought)
            self._thought = None

    def _close_calls(self, *, whole: bool = True) -> None:
        """`whole`: the calls are complete, so a call without arguments gets those of an empty object."""
        for call in self._open:
            if whole and call in self._bare:
                self._frame("TOOL_CALL_ARGS", toolCallId=call, delta="{}")
            self._frame("TOOL_CALL_END", toolCallId=call)
        self._open.clear()
        self._bare.clear()

    def _close(self, *, whole: bool = True) -> None:
        self._close_thought()
        self._close_text()
        self._close_calls(whole=whole)

    # --- calls ------------------------------------------------------------------------------------------------------
    def _begin_call(self, event: StoredEvent) -> None:
        self._close_thought()
        self._close_text()
        data = event.data
        iteration = int(data.get("iteration", 0))
        if self._parent[0] != iteration:
            self._parent = iteration, f"msg-{self._run_id}-{event.sequence}"
        self._open[data["id"]] = event.sequence
        self._bare.add(data["id"])
        about = {"toolCallName": data["tool"]["name"], "parentMessageId": self._parent[1]}
        self._frame("TOOL_CALL_START", toolCallId=data["id"], **about)

    def _result(self, event: StoredEvent) -> None:
        self._close()
        data = event.data
        content = data["result"] if event.type is EventType.TOOL_CALL_COMPLETED else data["error"]["message"]
        about = {"messageId": f"result-{data['id']}", "toolCallId": data["id"], "content": content, "role": "tool"}
        self._frame("TOOL_CALL_RESULT", **about)

    def _discard(self, first: int) -> None:
        self._close(whole=False)
        void = [message for message, sequence in self._said.items() if sequence >= first]
        if void:
            self._frame("CUSTOM", name=DISCARDED, value={"messageIds": void})

    def _frame(self, kind: str, **fields: Any) -> None:
        self._made.append({"type": kind, **fields})


def encode(frames: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(frame) for frame in frames)

"""Translates a run's events to the AI SDK's UI message stream (`useChat`, version 1 of the protocol). Pure.

    start, finish, error, abort              run.started, the terminal event
    start-step, finish-step                  a reply of the model with its calls
    text-…, reasoning-…                      agent.response.delta, agent.reasoning.delta
    tool-input-…, tool-output-…              tool calls. Those of this server are `dynamic` and `providerExecuted`, so
                                             that a client does not make them itself; those of the client are neither
    data-input-requested, data-discarded     what the protocol has no chunk for: questions to people, a recovery

A client builds its message from the first chunk on, so a stream always starts there. Its schema is strict: a chunk may
have no unknown field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stoa.dialects.translating import Translator
from stoa.events import EventType, StoredEvent

DONE: Final = b"data: [DONE]\n\n"
CLIENT: Final = "client"


class UiMessageTranslator(Translator):
    """Takes every event of a run once, in order."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._message_id = message_id
        self._text: tuple[str, int] | None = None
        self._thought: str | None = None
        self._step: int | None = None
        self._calls: dict[str, tuple[str, bool]] = {}
        """Calls with unfinished input: the tool's name, and whether it is the client's."""
        self._pieces: dict[str, list[str]] = {}
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
                if data["delta"] and data["id"] in self._calls:
                    self._pieces[data["id"]].append(data["delta"])
                    self._frame("tool-input-delta", toolCallId=data["id"], inputTextDelta=data["delta"])
            case EventType.TOOL_CALL_COMPLETED | EventType.TOOL_CALL_FAILED:
                self._result(event)
            case EventType.RUN_STARTED:
                self._frame("start", messageId=self._message_id)
            case EventType.APPROVAL_REQUEST_CREATED | EventType.HUMAN_FEEDBACK_REQUESTED:
                self._close_texts()
                self._frame("data-input-requested", id=str(data["id"]), data=dict(data))
            case EventType.RUN_RECOVERED:
                self._discard(int(data["discard_from"]))
            case EventType.RUN_COMPLETED | EventType.RUN_FAILED | EventType.RUN_CANCELED:
                self._finish(event)
            case _:
                pass

    def _finish(self, event: StoredEvent) -> None:
        self._close_texts()
        for call in tuple(self._calls):
            self._end_input(call)
        if self._step is not None:
            self._frame("finish-step")
        if event.type is EventType.RUN_FAILED:
            self._frame("error", errorText=event.data["error"]["message"])
        elif event.type is EventType.RUN_CANCELED:
            self._frame("abort")
        else:
            usage = event.data.get("usage")
            self._frame("finish", **({"messageMetadata": {"usage": usage}} if usage else {}))

    # --- steps and texts --------------------------------------------------------------------------------------------
    def _in_step(self, event: StoredEvent) -> None:
        iteration = int(event.data.get("iteration", 0))
        if self._step is not None and self._step != iteration:
            self._close_texts()
            self._frame("finish-step")
        if self._step != iteration:
            self._step = iteration
            self._frame("start-step")

    def _say(self, event: StoredEvent) -> None:
        delta = event.data["delta"]
        if not delta:
            return
        self._in_step(event)
        self._close_thought()
        if self._text is None:
            self._text = f"text-{event.sequence}", event.sequence
            self._said[self._text[0]] = event.sequence
            self._frame("text-start", id=self._text[0])
        self._frame("text-delta", id=self._text[0], delta=delta)

    def _think(self, event: StoredEvent) -> None:
        delta = event.data["delta"]
        if not delta:
            return
        self._in_step(event)
        self._close_text()
        if self._thought is None:
            self._thought = f"reasoning-{event.sequence}"
            self._frame("reasoning-start", id=self._thought)
        self._frame("reasoning-delta", id=self._thought, delta=delta)

    def _close_text(self) -> None:
        if self._text is not None:
            self._frame("text-end", id=self._text[0])
            self._text = None

    def _close_thought(self) -> None:
        if self._thought is not None:
            self._frame("reasoning-end", id=self._thought)
            self._thought = None

    def _close_texts(self) -> None:
        self._close_thought()
        self._close_text()

    # --- calls ------------------------------------------------------------------------------------------------------
    def _begin_call(self, event: StoredEvent) -> None:
        self._in_step(event)
        self._close_texts()
        data = event.data
        name, client = data["tool"]["name"], data["tool"]["type"] == CLIENT
        self._calls[data["id"]], self._pieces[data["id"]] = (name, client), []
        self._frame("tool-input-start", toolCallId=data["id"], toolName=name, **_served(client=client))

    def _end_input(self, call: str, given: Mapping[str, Any] | None = None) -> None:
        name, client = self._calls.pop(call)
        self._frame(
            "tool-input-available",
            toolCallId=call,
            toolName=name,
            input=_object("".join(self._pieces.pop(call))) if given is None else given,
            **_served(client=client),
        )

    def _result(self, event: StoredEvent) -> None:
        self._close_texts()
        data = event.data
        if data["id"] in self._calls:
            self._end_input(data["id"], data["input"])
        about = {"toolCallId": data["id"], "dynamic": True, "providerExecuted": True}
        if event.type is EventType.TOOL_CALL_COMPLETED:
            self._frame("tool-output-available", output=data["result"], **about)
        else:
            self._frame("tool-output-error", errorText=data["error"]["message"], **about)

    def _discard(self, first: int) -> None:
        self._close_texts()
        if void := [text for text, sequence in self._said.items() if sequence >= first]:
            self._frame("data-discarded", data={"textIds": void}, transient=True)

    def _frame(self, kind: str, **fields: Any) -> None:
        self._made.append({"type": kind, **fields})


def _served(*, client: bool) -> dict[str, Any]:
    return {} if client else {"dynamic": True, "providerExecuted": True}


def _object(text: str) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}


def encode(frames: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(frame) for frame in frames)

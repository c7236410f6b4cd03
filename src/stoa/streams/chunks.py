"""The platform's form of a run's events: the messages of `POST /` on an app's host (contract section 5). Pure.

A message is `{run_id, wf_run_id, entity_id, event, data, source}`. `data.choices[0].delta.content` is a delta of the
answer, or an empty string in other messages, so that the joined contents are the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from stoa.apps import Entities, Entity
from stoa.events import EventType
from stoa.journal import Record

Frame = Callable[[int, bytes], bytes]
"""(sequence, message) → what is sent."""


def sse_frame(sequence: int, message: bytes) -> bytes:
    """A frame without an `event:` line, which a browser's `onmessage` receives."""
    return b"id: %d\ndata: %b\n\n" % (sequence, message)


def line_frame(_: int, message: bytes) -> bytes:
    """A line; the JSON has no line breaks."""
    return message + b"\n"


class Chunks:
    """The rendering for one reader of one run."""

    def __init__(self, run_id: UUID, entities: Entities, frame: Frame, heartbeat: bytes = b"") -> None:
        self._run_id = str(run_id)
        self._entities = entities
        self._frame = frame
        self._said: list[tuple[int, int]] = []
        """(sequence, characters) of each piece of the answer."""
        self.state: Literal["going", "ended", "revoked"] = "going"
        self.heartbeat = heartbeat

    def revoked(self) -> bytes:
        self.state = "revoked"
        error = {"code": "unauthorized", "message": "The access key of this stream was revoked or has expired."}
        return self._frame(0, self._message(self._entities.whole, "", "error", {"error": error}))

    def frames(self, records: Sequence[Record], /) -> bytes:
        return b"".join(
            self._frame(record.sequence, message)
            for record in records
            if (message := self._message_of(record)) is not None
        )

    def _message_of(self, record: Record) -> bytes | None:
        """None for an event that has no form here."""
        made = _FORMS.get(record.type)
        if made is None:
            return None
        if record.terminal:
            self.state = "ended"
        data: Mapping[str, Any] = orjson.loads(record.payload)["data"]
        return made(self, record.sequence, data)

    def _message(self, entity: Entity, content: str | Mapping[str, Any], step: str, more: Mapping[str, Any]) -> bytes:
        delta = {"content": content, "step": step, "source": entity.name}
        return orjson.dumps(
            {
                "run_id": self._run_id,
                "wf_run_id": self._run_id,
                "entity_id": entity.id,
                "event": entity.event,
                "data": {"choices": [{"delta": delta}], **more},
                "source": entity.source(),
            }
        )

    def _entity(self, data: Mapping[str, Any]) -> Entity:
        """The source of the event: a node, a subagent, or the agent."""
        source = data.get("source")
        if source is None:
            return self._entities.agent
        known = self._entities.nodes.get(source.get("id"))
        agent = self._entities.agent
        return known or Entity(
            str(source.get("id")), str(source.get("name")), agent.group, agent.type, agent.event, agent.everything
        )

    def _own(self, data: Mapping[str, Any]) -> bool:
        """Whether it belongs to the app's answer and not to a subagent's."""
        source = data.get("source")
        return source is None or source.get("id") in self._entities.nodes

    # --- events -----------------------------------------------------------------------------------------------------
    def answer(self, sequence: int, data: Mapping[str, Any]) -> bytes | None:
        entity = self._entity(data)
        if self._own(data):
            self._said.append((sequence, len(data["delta"])))
            return self._message(entity, data["delta"], "answer", {})
        return self._message(entity, {"thought": data["delta"]}, "reasoning", {}) if entity.everything else None

    def reasoning(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        entity = self._entity(data)
        return self._message(entity, {"thought": data["delta"]}, "reasoning", {}) if entity.everything else None

    def tool_started(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        content = {
            "tool_run_id": data["id"],
            "action": data["tool"]["name"],
            "tool": data["tool"],
            "loop_num": data["iteration"],
        }
        entity = self._entity(data)
        return self._message(entity, content, "tool_input_start", {}) if entity.everything else None

    def tool_input(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        content = {"tool_run_id": data["id"], "action_input": data["delta"]}
        entity = self._entity(data)
        return self._message(entity, content, "tool_input", {}) if entity.everything else None

    def tool_ended(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        error = data.get("error")
        content = {
            "tool_run_id": data["id"],
            "name": data["tool"]["name"],
            "tool": data["tool"],
            "input": data["input"],
            "result": error["message"] if error else data["result"],
            "files": [],
            "loop_num": data["iteration"],
            "status": "error" if error else "success",
        }
        entity = self._entity(data)
        return self._message(entity, content, "tool", {}) if entity.everything else None

    def asked(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        """A question to a person, which `POST /v1/runs/{id}/input` answers."""
        return self._message(self._entity(data), "", "input_request", {"input_request": _without_source(data)})

    def recovered(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        """The text since `discard_from` is void; returns its length at the end of the answer."""
        void = sum(characters for sequence, characters in self._said if sequence >= data["discard_from"])
        self._said = [one for one in self._said if one[0] < data["discard_from"]]
        return self._message(self._entities.whole, "", "recovered", {"discard_characters": void})

    def completed(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        result = data.get("result")  # Of a graph: what its Output gave.
        output: Any = result if isinstance(result, dict) else {"content": data["output"]}
        more = {"status": "completed", "output": output}
        return self._message(self._entities.whole, "", "output", more)

    def failed(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        return self._message(self._entities.whole, "", "error", {"status": "failed", "error": data["error"]})

    def canceled(self, _: int, data: Mapping[str, Any]) -> bytes | None:
        error = {"code": "canceled", "message": f"The run was canceled: {data['reason']}."}
        return self._message(
            self._entities.whole, "", "error", {"status": "canceled", "canceled": True, "error": error}
        )


def _without_source(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("object", "source")}


_FORMS: Final[Mapping[int, Callable[[Chunks, int, Mapping[str, Any]], bytes | None]]] = {
    EventType.RESPONSE_DELTA: Chunks.answer,
    EventType.REASONING_DELTA: Chunks.reasoning,
    EventType.TOOL_CALL_STARTED: Chunks.tool_started,
    EventType.TOOL_CALL_INPUT_DELTA: Chunks.tool_input,
    EventType.TOOL_CALL_COMPLETED: Chunks.tool_ended,
    EventType.TOOL_CALL_FAILED: Chunks.tool_ended,
    EventType.HUMAN_FEEDBACK_REQUESTED: Chunks.asked,
    EventType.APPROVAL_REQUEST_CREATED: Chunks.asked,
    EventType.RUN_RECOVERED: Chunks.recovered,
    EventType.RUN_COMPLETED: Chunks.completed,
    EventType.RUN_FAILED: Chunks.failed,
    EventType.RUN_CANCELED: Chunks.canceled,
}

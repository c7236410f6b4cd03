"""Translates a run's events to those of OpenAI's Responses. Pure: without database or clock.

Frames are numbered (`sequence_number`) in order and depend on the run's events alone. Read again they are the same, so
a client resumes with `starting_after`. `output_index` is the item's position in the response's `output`; an item that
becomes void keeps its position and loses its content.

Events of this dialect, and what they are made of:

    response.created, .in_progress             run.started
    …output_item / content_part / output_text  agent.response.delta, one message for each reply of the model
    …reasoning_summary_…                       agent.reasoning.delta
    …function_call_arguments                   the client's own tools
    …file_search_call                          the search of knowledge bases
    …mcp_call                                  every other tool: this server calls it
    mcp_approval_request                       approval_request.created; the response continues once it is answered
    response.completed, .incomplete, .failed   the terminal event
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.dialects.responses.names import call_id, item_id
from stoa.dialects.translating import Translator
from stoa.events import EventType, StoredEvent

DONE: Final = b"data: [DONE]\n\n"
CLIENT: Final = "client"
KNOWLEDGE: Final = "knowledge_base"
_INCOMPLETE: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ERROR_CODES: Final[Mapping[str, str]] = {
    "model_rate_limited": "rate_limit_exceeded",
    "content_filtered": "invalid_prompt",
    "context_length_exceeded": "invalid_prompt",
    "model_refused_request": "invalid_prompt",
}
"""Every other failure is a `server_error`; its message says what failed."""


@dataclass(slots=True)
class _Item:
    item: dict[str, Any]
    index: int
    sequence: int
    """The iteration of the event that began the item."""
    iteration: int = 0
    pieces: list[str] = field(default_factory=list[str])
    open: bool = True

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item["id"], "output_index": self.index}


class ResponseTranslator(Translator):
    """Takes every event of a run once, in order."""

    def __init__(
        self, run_id: UUID, head: Mapping[str, Any], *, structured: bool = False, results: bool = False
    ) -> None:
        """`head`: the fields of the response that repeat its request. `structured`: the answer must satisfy a schema.
        `results`: searches include their results."""
        super().__init__()
        self._run_id = run_id
        self._head = head
        self._structured = structured
        self._results = results
        self._items: list[_Item] = []
        self._text: _Item | None = None
        self._thought: _Item | None = None
        self._calls: dict[str, _Item] = {}
        self._called: set[int] = set()
        """Iterations that made calls."""
        self._number = 0
        self._status = str(head.get("status", "in_progress"))
        self._end: dict[str, Any] = {}

    # --- what it gives ----------------------------------------------------------------------------------------------
    def response(self) -> dict[str, Any]:
        """The current state of the response."""
        ended = {"completed_at": None, "error": None, "incomplete_details": None, "usage": None}
        output = [held.item for held in self._items] if self._end else [one.item for one in self._items if not one.open]
        return {**self._head, **ended, "status": self._status, "output": output, **self._end}

    @property
    def ended(self) -> bool:
        return bool(self._end)

    # --- events -----------------------------------------------------------------------------------------------------
    def _take(self, event: StoredEvent) -> None:
        data = event.data
        match event.type:
            case EventType.RESPONSE_DELTA:
                self._say(event)
            case EventType.REASONING_DELTA:
                self._think(event)
            case EventType.RUN_STARTED:
                self._status = "in_progress"
                self._frame("response.created", response=self.response())
                self._frame("response.in_progress", response=self.response())
            case EventType.TOOL_CALL_STARTED:
                self._call(event)
            case EventType.TOOL_CALL_INPUT_DELTA:
                self._argue(data["id"], data["delta"])
            case EventType.TOOL_CALL_COMPLETED | EventType.TOOL_CALL_FAILED:
                self._settle(event)
            case EventType.APPROVAL_REQUEST_CREATED:
                self._ask(event)
            case EventType.RUN_RECOVERED:
                self._discard(int(data["discard_from"]))
            case EventType.RUN_COMPLETED | EventType.RUN_FAILED | EventType.RUN_CANCELED:
                self._finish(event)
            case _:
                pass  # Pauses, subagents, notices: this dialect has no event for them.

    def _say(self, event: StoredEvent) -> None:
        delta, iteration = event.data["delta"], event.data.get("iteration", 0)
        if not delta:
            return
        self._close_thought()
        if self._text is not None and self._text.iteration != iteration:
            before = self._text
            self._close_text()
            if self._structured and before.iteration not in self._called:
                self._void(before)  # The void answer did not satisfy the schema; this is the corrected one.
        if self._text is None:
            self._text = self._open(event, "message", role="assistant", status="in_progress", content=[])
            self._text.iteration = iteration
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._frame("response.content_part.added", **self._text.place, content_index=0, part=part)
        self._text.pieces.append(delta)
        self._frame("response.output_text.delta", **self._text.place, content_index=0, delta=delta, logprobs=[])

    def _think(self, event: StoredEvent) -> None:
        delta = event.data["delta"]
        if not delta:
            return
        self._close_text()
        if self._thought is None:
            self._thought = self._open(event, "reasoning", summary=[])
            part = {"type": "summary_text", "text": ""}
            self._frame("response.reasoning_summary_part.added", **self._thought.place, summary_index=0, part=part)
        self._thought.pieces.append(delta)
        self._frame("response.reasoning_summary_text.delta", **self._thought.place, summary_index=0, delta=delta)

    def _call(self, event: StoredEvent) -> None:
        self._close_texts()
        data = event.data
        name, kind = data["tool"]["name"], data["tool"]["type"]
        self._called.add(int(data.get("iteration", 0)))
        if kind == CLIENT:
            made = self._open(
                event, "function_call", status="in_progress", call_id=call_id(data["id"]), name=name, arguments=""
            )
        elif kind == KNOWLEDGE:
            made = self._open(event, "file_search_call", status="in_progress", queries=[], results=None)
            self._frame("response.file_search_call.in_progress", **made.place)
        else:
            made = self._open(event, "mcp_call", server_label="stoa", name=name, arguments="", output=None, error=None)
            self._frame("response.mcp_call.in_progress", **made.place)
        self._calls[data["id"]] = made

    def _argue(self, call: str, delta: str) -> None:
        made = self._calls.get(call)
        if made is None or not made.open or not delta:
            return
        made.pieces.append(delta)
        if made.item["type"] == "function_call":
            self._frame("response.function_call_arguments.delta", **made.place, delta=delta)
        elif made.item["type"] == "mcp_call":
            self._frame("response.mcp_call_arguments.delta", **made.place, delta=delta)

    def _settle(self, event: StoredEvent) -> None:
        self._close_texts()
        data = event.data
        if data["id"] not in self._calls:
            self._call(event)
        made = self._calls[data["id"]]
        if not made.open:
            return
        failed = event.type is EventType.TOOL_CALL_FAILED
        if made.item["type"] == "file_search_call":
            self._found(made, data, failed=failed)
            return
        arguments = orjson.dumps(data["input"]).decode()
        made.item["arguments"] = arguments
        if made.item["type"] == "function_call":  # The call failed before the client could make it.
            made.item["status"] = "incomplete"
            self._frame(
                "response.function_call_arguments.done", **made.place, name=made.item["name"], arguments=arguments
            )
        else:
            made.item |= (
                {"status": "failed", "error": data["error"]["message"]}
                if failed
                else {
                    "status": "completed",
                    "output": data["result"],
                }
            )
            self._frame("response.mcp_call_arguments.done", **made.place, arguments=arguments)
            self._frame(f"response.mcp_call.{'failed' if failed else 'completed'}", **made.place)
        self._done(made)

    def _found(self, made: _Item, data: Mapping[str, Any], *, failed: bool) -> None:
        self._frame("response.file_search_call.searching", **made.place)
        made.item["queries"] = [str(data["input"].get("query", ""))]
        made.item["status"] = "failed" if failed else "completed"
        if self._results and not failed:
            made.item["results"] = _results(data["result"])
        self._frame("response.file_search_call.completed", **made.place)
        self._done(made)

    def _ask(self, event: StoredEvent) -> None:
        self._close_texts()
        data = event.data
        call = self._calls.get(str(data.get("tool_call_id")))
        name = call.item.get("name", "") if call is not None else ""
        made = self._open(
            event,
            "mcp_approval_request",
            server_label="stoa",
            name=name,
            arguments=orjson.dumps(data["params"]).decode(),
            request_id=data["id"],
        )
        self._done(made)

    def _discard(self, first: int) -> None:
        """A node died: what was generated since the last checkpoint is void and is generated again."""
        for held in self._items:
            if held.sequence >= first:
                self._void(held)
        self._text = self._thought = None

    def _finish(self, event: StoredEvent) -> None:
        self._close_texts(complete=event.type is EventType.RUN_COMPLETED)
        for held in self._items:
            if held.open:
                self._end_call(held, complete=event.type is EventType.RUN_COMPLETED)
        data = event.data
        self._end = {"usage": _usage(data.get("usage") or {})}
        kind = "response.completed"
        if event.type is EventType.RUN_COMPLETED:
            reason = _INCOMPLETE.get(str(data.get("finish_reason")))
            self._status = "completed" if reason is None else "incomplete"
            self._end["completed_at"] = seconds(event.timestamp) if reason is None else None
            if reason is not None:
                self._end["incomplete_details"] = {"reason": reason}
                kind = "response.incomplete"
        elif event.type is EventType.RUN_FAILED:
            self._status, kind = "failed", "response.failed"
            error = data["error"]
            self._end["error"] = {
                "code": _ERROR_CODES.get(error["code"], "server_error"),
                "message": f"{error['message']} ({error['code']})",
            }
        else:  # This dialect has no event for it. The status of the final event shows it.
            self._status, kind = "cancelled", "response.incomplete"
        self._frame(kind, response=self.response())

    # --- items ------------------------------------------------------------------------------------------------------
    def _open(self, event: StoredEvent, kind: str, **fields: Any) -> _Item:
        index = len(self._items)
        item = {"id": item_id(kind, self._run_id, "o", index), "type": kind, **fields}
        made = _Item(item, index, event.sequence, int(event.data.get("iteration", 0) or 0))
        self._items.append(made)
        self._frame("response.output_item.added", output_index=index, item=dict(item))
        return made

    def _close_texts(self, *, complete: bool = True) -> None:
        self._close_thought()
        self._close_text(complete=complete)

    def _close_text(self, *, complete: bool = True) -> None:
        held, self._text = self._text, None
        if held is None:
            return
        text = "".join(held.pieces)
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        held.item |= {"content": [part], "status": "completed" if complete else "incomplete"}
        self._frame("response.output_text.done", **held.place, content_index=0, text=text, logprobs=[])
        self._frame("response.content_part.done", **held.place, content_index=0, part=part)
        self._done(held)

    def _close_thought(self) -> None:
        held, self._thought = self._thought, None
        if held is None:
            return
        text = "".join(held.pieces)
        part = {"type": "summary_text", "text": text}
        held.item["summary"] = [part]
        self._frame("response.reasoning_summary_text.done", **held.place, summary_index=0, text=text)
        self._frame("response.reasoning_summary_part.done", **held.place, summary_index=0, part=part)
        self._done(held)

    def _end_call(self, held: _Item, *, complete: bool) -> None:
        """Ends a call that is still open at the end of the run. If it is the client's tool, the client makes the call
        now."""
        kind = held.item["type"]
        if "arguments" in held.item:
            held.item["arguments"] = "".join(held.pieces) or "{}"
        if kind == "function_call":
            held.item["status"] = "completed" if complete else "incomplete"
            about = {"name": held.item["name"], "arguments": held.item["arguments"]}
            self._frame("response.function_call_arguments.done", **held.place, **about)
        elif kind == "mcp_call":
            held.item |= {"status": "incomplete", "error": "The run ended before."}
        else:
            held.item["status"] = "incomplete"
        self._done(held)

    def _done(self, held: _Item) -> None:
        held.open = False
        self._frame("response.output_item.done", output_index=held.index, item=dict(held.item))

    def _void(self, held: _Item) -> None:
        """Marks content as void. An open item is closed, because every item that was announced must end."""
        for name in ("content", "summary"):
            if name in held.item:
                held.item[name] = []
        if held.item["type"] != "reasoning":
            held.item["status"] = "incomplete"
        if held.open:
            self._done(held)

    def _frame(self, kind: str, **fields: Any) -> None:
        self._made.append({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1


def encode(frames: Sequence[Mapping[str, Any]], after: int = -1) -> bytes:
    """Server-Sent Events; those up to the sequence number `after` are left out."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (frame["type"].encode(), orjson.dumps(frame))
        for frame in frames
        if frame["sequence_number"] > after
    )


def seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "total_tokens": usage.get("total_tokens", prompt + completion),
    }


def _results(result: str) -> list[dict[str, Any]]:
    """The results of a search, parsed from the tool's result."""
    try:
        found = orjson.loads(result)
    except orjson.JSONDecodeError:
        return []
    passages = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        {
            "file_id": str(one.get("item_id", "")),
            "filename": str(one.get("source", "")),
            "text": str(one.get("text", "")),
            "score": None,
            "attributes": {},
        }
        for one in passages
    ]

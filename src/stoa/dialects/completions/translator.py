"""Translates a run's events to chunks of a chat completion, for a stream that can be resumed. Pure.

Chunks are numbered (`id:`) in order, and depend on the run's events alone. Chat completions cannot retract text, so an
answer that a node's death interrupted ends with an error: two generations are never joined.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stoa.dialects.translating import Translator
from stoa.events import EventType, StoredEvent

DONE: Final = b"data: [DONE]\n\n"
_REASONS: Final = {"refusal": "content_filter"}
_CUT: Final = "The server failed in the middle of this answer; send the request again."


class CompletionTranslator(Translator):
    """Takes every event of a run once, in order."""

    def __init__(self, completion: str, created: int, model: str, *, usage: bool) -> None:
        super().__init__()
        self._head = {"id": completion, "object": "chat.completion.chunk", "created": created, "model": model}
        self._usage = usage
        self._calls: dict[str, int] = {}
        self._bare: set[int] = set()
        """Calls without arguments so far. One that ends so gets those of an empty object, because clients parse the
        arguments."""
        self._said_at = 0
        """The sequence of the last event that became content."""
        self._ended = False

    def _take(self, event: StoredEvent) -> None:
        if self._ended:
            return
        data = event.data
        match event.type:
            case EventType.RUN_STARTED:
                self._chunk({"role": "assistant", "content": ""})
            case EventType.RESPONSE_DELTA if data["delta"]:
                self._say(event, {"content": data["delta"]})
            case EventType.REASONING_DELTA if data["delta"]:
                self._say(event, {"reasoning_content": data["delta"]})
            case EventType.TOOL_CALL_STARTED:
                index = self._calls[data["id"]] = len(self._calls)
                self._bare.add(index)
                function = {"name": data["tool"]["name"], "arguments": ""}
                call = {"index": index, "id": f"call_{data['id'].replace('-', '')}", "type": "function"}
                self._say(event, {"tool_calls": [{**call, "function": function}]})
            case EventType.TOOL_CALL_INPUT_DELTA if data["id"] in self._calls:
                self._argue(event, self._calls[data["id"]], data["delta"])
            case EventType.RUN_RECOVERED if self._said_at >= data["discard_from"]:
                self._fail("server_error", _CUT)
            case EventType.RUN_COMPLETED:
                self._complete(event)
            case EventType.RUN_FAILED:
                self._fail(data["error"]["code"], data["error"]["message"])
            case EventType.RUN_CANCELED:
                self._fail("canceled", "This answer was canceled.")
            case _:
                pass

    def _complete(self, event: StoredEvent) -> None:
        data = event.data
        for index in sorted(self._bare):
            self._argue(event, index, "{}")
        reason = str(data.get("finish_reason") or "stop")
        self._chunk({}, _REASONS.get(reason, reason))
        if self._usage:
            self._made.append({**self._head, "choices": [], "usage": _counts(data.get("usage") or {})})

    def _argue(self, event: StoredEvent, index: int, arguments: str) -> None:
        if arguments:
            self._bare.discard(index)
        self._say(event, {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def _say(self, event: StoredEvent, delta: Mapping[str, Any]) -> None:
        self._said_at = event.sequence
        self._chunk(delta)

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        self._made.append({**self._head, "choices": [choice]})

    def _fail(self, code: str, message: str) -> None:
        self._ended = True
        self._made.append({"error": {"code": code, "message": message, "type": "server_error", "param": None}})


class Numbered:
    """Server-Sent Events, each with a number; those up to `after` are left out."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._number = 0

    def encode(self, frames: Sequence[Mapping[str, Any]]) -> bytes:
        out: list[bytes] = []
        for frame in frames:
            self._number += 1
            if self._number > self._after:
                out.append(b"id: %d\ndata: %b\n\n" % (self._number, orjson.dumps(frame)))
        return b"".join(out)


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
    }

"""The answers of Anthropic's messages wire, as Anthropic and its look-alikes send them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stoa.gateway.providers.failures import Failure, found
from stoa.gateway.providers.fields import count_of, index_of, list_of, object_of, text_of
from stoa.gateway.providers.reading import NO_CALL, Reading, broken_off, finish_of, kept
from stoa.gateway.providers.toolcalls import CALLS_MAX, Names
from stoa.gateway.types import Delta, Finish, ModelError, ReasoningDelta, TextDelta, ToolCallDelta, Usage

_DELTAS = (
    ("text", "text_delta"),
    ("partial_json", "input_json_delta"),
    ("thinking", "thinking_delta"),
    ("signature", "signature_delta"),
)
"""The type of a delta, by the field that it has."""


def _kind_of(event: Mapping[str, Any]) -> str | None:
    """The type of an event that names none, as some proxies send them, by its fields."""
    delta = event.get("delta")
    if isinstance(delta, dict):
        return "message_delta" if "stop_reason" in delta else "content_block_delta"
    if "content_block" in event:
        return "content_block_start"
    if isinstance(event.get("message"), dict):
        return "message_start"
    return "message" if isinstance(event.get("content"), list) else None


@dataclass(slots=True)
class _Thought:
    """A block of thinking, with the signature that it needs to be taken back."""

    thinking: list[str] = field(default_factory=list[str])
    signature: list[str] = field(default_factory=list[str])
    redacted: str = ""
    place: tuple[int, int] = (0, 0)
    """How many calls stood before it, and whether text did (1)."""

    def as_block(self) -> dict[str, str] | None:
        if self.redacted:
            return {"type": "redacted_thinking", "data": self.redacted}
        if not (self.signature or self.thinking):
            return None
        return {"type": "thinking", "thinking": "".join(self.thinking), "signature": "".join(self.signature)}


@dataclass(slots=True)
class _Use:
    """A call: `input` is what its block began with, which counts where nothing is streamed after it."""

    number: int
    id: str
    name: str
    input: str = ""
    streamed: bool = False


class AnthropicReading(Reading):
    """Usage comes in two surrogates: the prompt's with the message's start, the answer's with its end."""

    def __init__(self, clean: Callable[[str], str], names: Names | None = None, source: str = "") -> None:
        self._clean = clean
        self._names = names or Names()
        self._source = source
        self._counts: dict[str, Any] = {}
        self._reason = ""
        self._said = self._text_begun = False
        self._blocks: dict[int, _Thought | _Use | None] = {}
        self._last = -1
        self._thoughts: list[_Thought] = []
        self._uses: list[_Use] = []

    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        match event.get("type") or _kind_of(event):
            case "content_block_delta":
                self._delta(event.get("index"), event.get("delta"), out)
            case "content_block_start":
                self._start(event.get("index"), object_of(event.get("content_block")), out)
            case "message_start":
                message = object_of(event.get("message"))
                self._count(object_of(message.get("usage")))
                for block in list_of(message.get("content")):
                    self._start(None, object_of(block), out)
            case "message_delta":
                self._end(object_of(event.get("delta")), event.get("usage"), out)
            case "message_stop":
                self.ended = True
            case "message":
                self._whole(event, out)
            case "ping" | "content_block_stop":
                pass
            case _:
                if (failure := found(event)) is not None:
                    raise broken_off(failure, self._clean(failure.message))

    def _whole(self, message: Mapping[str, Any], out: list[Delta]) -> None:
        """An answer that was not streamed."""
        for block in list_of(message.get("content")):
            self._start(None, object_of(block), out)
        self._end(message, message.get("usage"), out)

    def _end(self, held: Mapping[str, Any], usage: Any, out: list[Delta]) -> None:
        if reason := held.get("stop_reason"):
            self._reason, self.finished = text_of(reason) or "an unknown reason", True
        if isinstance(usage, dict) and usage:
            self._count(usage)
            if counts := usage_of(self._counts):
                out.append(counts)

    def _count(self, usage: Mapping[str, Any]) -> None:
        """A zero replaces no count: some servers send the prompt's tokens at the start and zeros at the end, others the
        other way round."""
        self._counts |= {name: value for name, value in usage.items() if value or name not in self._counts}

    def _start(self, index: Any, block: Mapping[str, Any], out: list[Delta]) -> None:
        found_index = index_of(index)
        self._last = self._last + 1 if found_index is None else found_index
        self._blocks[self._last] = None
        match block.get("type"):
            case "tool_use":
                given = block.get("input")
                held = given if isinstance(given, str) else orjson.dumps(given).decode() if given else ""
                self._begin_use(self._last, text_of(block.get("id")), text_of(block.get("name")), held, out)
            case "thinking" | "redacted_thinking":
                thought = _Thought(redacted=text_of(block.get("data")), place=(len(self._uses), int(self._text_begun)))
                self._blocks[self._last] = thought
                self._thoughts.append(thought)
                self._think(thought, block, out)
            case kind:
                self._text_begun = self._text_begun or kind == "text"
                self._say(block.get("text"), out)

    def _begin_use(self, index: int, id_: str, name: str, held: str, out: list[Delta]) -> _Use:
        if len(self._uses) == CALLS_MAX:
            raise ModelError("model_error", f"The model called over {CALLS_MAX} tools in one reply.", retryable=False)
        use = _Use(len(self._uses), id_, self._names.resolved(name), held)
        self._blocks[index] = use
        self._uses.append(use)
        out.append(ToolCallDelta(use.number, "", use.id or None, use.name))
        return use

    def _delta(self, index: Any, delta: Any, out: list[Delta]) -> None:
        if type(delta) is not dict:
            return
        kind = delta.get("type") or next((named for field, named in _DELTAS if field in delta), None)
        if kind == "text_delta":
            text = delta.get("text")
            if type(text) is str:
                self._said = True
                out.append(TextDelta(text))
            else:
                self._say(text, out)
            return
        found_index = index_of(index)
        position = self._last if found_index is None else found_index
        block = self._blocks.get(position)
        if kind in ("thinking_delta", "signature_delta"):
            if not isinstance(block, _Thought):
                block = self._blocks[position] = _Thought()
                self._thoughts.append(block)
            self._think(block, delta, out)
        elif kind == "input_json_delta" and not (block is None and position in self._blocks):
            given = delta.get("partial_json")
            piece = given if isinstance(given, str) else orjson.dumps(given).decode() if given else ""
            if piece:
                use = block if isinstance(block, _Use) else self._begin_use(position, "", "", "", out)
                use.streamed = True
                out.append(ToolCallDelta(use.number, piece))

    def _think(self, thought: _Thought, held: Mapping[str, Any], out: list[Delta]) -> None:
        if signature := text_of(held.get("signature")):
            thought.signature.append(signature)
        if text := text_of(held.get("thinking")):
            thought.thinking.append(text)
            out.append(ReasoningDelta(text))

    def _say(self, value: Any, out: list[Delta]) -> None:
        if text := text_of(value):
            self._said = True
            out.append(TextDelta(text))

    def close(self, out: list[Delta]) -> Finish:
        out += [ToolCallDelta(use.number, use.input) for use in self._uses if use.input and not use.streamed]
        if self._uses and self._source:
            signed = [thought for thought in self._thoughts if thought.signature or thought.redacted]
            # Compatible servers without signatures still require their reasoning back.
            thoughts = [thought for thought in signed or self._thoughts if thought.as_block()]
            data: dict[str, Any] = {"calls": [{"id": use.id} for use in self._uses]}
            if thoughts:
                data["thinking"] = [thought.as_block() for thought in thoughts]
            if any(thought.place != (0, 0) for thought in thoughts):
                data["places"] = [list(thought.place) for thought in thoughts]
            if (provider_data := kept(self._source, data)) is not None:
                out.append(provider_data)
        if not (self._said or self._uses):
            if not self.finished:
                raise broken_off(Failure(""), "it ended without a word.")
            if self._reason == "tool_use":
                raise broken_off(Failure(""), NO_CALL)
        return finish_of(self._reason, calls=bool(self._uses))


def usage_of(usage: Mapping[str, Any]) -> Usage | None:
    """Anthropic's input count excludes cached tokens; ours includes every token of the prompt."""
    cached, written = count_of(usage.get("cache_read_input_tokens")), count_of(usage.get("cache_creation_input_tokens"))
    prompt = count_of(usage.get("input_tokens")) + cached + written
    completion = count_of(usage.get("output_tokens"))
    if not (prompt or completion):
        return None
    return Usage(count_of(prompt), completion, cached, cache_write_tokens=written)

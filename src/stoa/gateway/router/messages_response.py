"""Translates the answer of any model to Anthropic's messages: events of a stream, or one whole message."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import uuid4

import orjson

from stoa.gateway.router.types import CallProgress
from stoa.gateway.types import (
    Delta,
    Finish,
    FinishReason,
    Model,
    ModelError,
    ModelRequest,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)

REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


class MessageTranslation:
    """One answer. `open` reads up to the first content, so that every earlier failure can be retried."""

    def __init__(self, model: Model, slug: str, progress: CallProgress, usage: Callable[[], Usage]) -> None:
        """`usage` returns the tokens so far: the provider's count, or an estimate."""
        self._model = model
        self._progress = progress
        self._usage = usage
        self._head: dict[str, Any] = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": slug,
            "stop_sequence": None,
        }
        self._deltas: AsyncIterator[Sequence[Delta]] | None = None
        self._first: Sequence[Delta] = ()
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []
        self._open: int | None = None
        self._calls: dict[int, int] = {}
        """The block index of each tool call."""
        self._reason: str | None = None
        self.notices: list[str] = []
        self.trailer = event({"type": "message_stop"})

    async def open(self, stack: AsyncExitStack, request: ModelRequest) -> None:
        """Raises ModelError."""
        self._deltas = await stack.enter_async_context(self._model.stream(request))
        self._first = await anext(self._deltas, ())
        self._progress.began = True
        self.notices += [delta.text for delta in self._first if isinstance(delta, Notice)]

    def count(self) -> None:
        """Does nothing: the characters of an answer are counted as they arrive."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields whole events. Raises ModelError if the provider breaks off."""
        begin = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "usage": {**usage_object(self._usage()), "output_tokens": 0},
        }
        yield event({"type": "message_start", "message": begin})
        async for batch in self._batches():
            if events := self._take(batch):
                yield b"".join(map(event, events))
        closing = self._close()
        if self._reason is None:
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        delta = {"stop_reason": self._reason, "stop_sequence": None}
        closing.append({"type": "message_delta", "delta": delta, "usage": usage_object(self._usage())})
        yield b"".join(map(event, closing))

    async def whole(self) -> dict[str, Any]:
        """The whole message, without its usage. Raises ModelError."""
        async for batch in self._batches():
            self._take(batch)
        if self._reason is None:
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        content = [_filled(block, "".join(pieces)) for block, pieces in zip(self._blocks, self._pieces, strict=True)]
        return {**self._head, "content": content, "stop_reason": self._reason}

    async def _batches(self) -> AsyncIterator[Sequence[Delta]]:
        assert self._deltas is not None
        if self._first:
            yield self._first
            self._progress.place.counted(self._progress.characters)
        async for batch in self._deltas:
            yield batch
            self._progress.place.counted(self._progress.characters)

    def _take(self, batch: Sequence[Delta]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for delta in batch:
            match delta:
                case TextDelta() if delta.text:
                    self._said(
                        out, {"type": "text", "text": ""}, {"type": "text_delta", "text": delta.text}, delta.text
                    )
                case ReasoningDelta() if delta.text:
                    block = {"type": "thinking", "thinking": "", "signature": ""}
                    self._said(out, block, {"type": "thinking_delta", "thinking": delta.text}, delta.text)
                case ToolCallDelta():
                    self._call(out, delta)
                case Usage():
                    self._progress.report(delta)
                case Finish():
                    self._reason = REASONS[delta.reason]
                case _:
                    pass
        return out

    def _said(self, out: list[dict[str, Any]], block: Mapping[str, Any], delta: Mapping[str, Any], text: str) -> None:
        self._progress.characters += len(text)
        if self._open is None or self._blocks[self._open]["type"] != block["type"]:
            self._begin(out, block)
        assert self._open is not None
        self._pieces[self._open].append(text)
        out.append({"type": "content_block_delta", "index": self._open, "delta": delta})

    def _call(self, out: list[dict[str, Any]], delta: ToolCallDelta) -> None:
        self._progress.characters += len(delta.arguments) + len(delta.name or "")
        if delta.index not in self._calls:
            use = {
                "type": "tool_use",
                "id": delta.id or f"toolu_{uuid4().hex[:24]}",
                "name": delta.name or "",
                "input": {},
            }
            self._calls[delta.index] = self._begin(out, use)
        index = self._calls[delta.index]
        if delta.arguments:
            self._pieces[index].append(delta.arguments)
            piece = {"type": "input_json_delta", "partial_json": delta.arguments}
            out.append({"type": "content_block_delta", "index": index, "delta": piece})

    def _begin(self, out: list[dict[str, Any]], block: Mapping[str, Any]) -> int:
        out += self._close()
        self._open = len(self._blocks)
        self._blocks.append(dict(block))
        self._pieces.append([])
        out.append({"type": "content_block_start", "index": self._open, "content_block": block})
        return self._open

    def _close(self) -> list[dict[str, Any]]:
        if self._open is None:
            return []
        closed, self._open = self._open, None
        return [{"type": "content_block_stop", "index": closed}]


def _filled(block: Mapping[str, Any], text: str) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {**block, "text": text}
        case "thinking":
            return {**block, "thinking": text}
        case _:
            try:
                given = orjson.loads(text or "{}")
            except orjson.JSONDecodeError:
                given = {}
            return {**block, "input": given if isinstance(given, dict) else {}}


def event(fields: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (fields["type"].encode(), orjson.dumps(fields))


def usage_object(usage: Usage) -> dict[str, int]:
    """The usage in Anthropic's format: its input count excludes cached tokens."""
    return {
        "input_tokens": max(usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens, 0),
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }

"""Answers of providers with another API in OpenAI's format: deltas become chunks, or one whole answer."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import uuid4

import orjson

from stoa.gateway.providers.fields import list_of
from stoa.gateway.router.types import CallProgress
from stoa.gateway.types import (
    Answering,
    Delta,
    Finish,
    FinishReason,
    Model,
    ModelError,
    ModelRequest,
    Notice,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)

DONE_EVENT: Final = b"data: [DONE]\n\n"
REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter",
    "refusal": "content_filter",
}  # fmt: skip # a table


class Translation:
    """One answer. `open` reads up to the first content, so that every earlier failure can be retried."""

    def __init__(
        self, model: Model, slug: str, progress: CallProgress, created: int, usage: Callable[[], Usage] | None
    ) -> None:
        """`usage` returns the tokens at the end, for a caller that asked for them."""
        self._model = model
        self._progress = progress
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "created": created, "model": slug}
        self._usage = usage
        self._deltas: AsyncIterator[Sequence[Delta]] | None = None
        self._first: Sequence[Delta] = ()
        self._ids: dict[int, str] = {}
        self._bare: set[int] = set()
        """Calls without arguments so far. If a call gets none, its arguments are `{}`, because clients parse them."""
        self._thinking: Sequence[Any] = ()
        self.notices: list[str] = []
        self.trailer = DONE_EVENT

    async def open(self, stack: AsyncExitStack, request: ModelRequest) -> None:
        """Raises ModelError."""
        self._deltas = await stack.enter_async_context(self._model.stream(request))
        self._first = await anext(self._deltas, ())
        self._progress.began = True
        self.notices += [delta.text for delta in self._first if isinstance(delta, Notice)]

    # --- streamed ---------------------------------------------------------------------------------------------------
    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields chunks as whole events. Raises ModelError if the provider breaks off."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for batch in self._batches():
            events = [event for delta in batch if (event := self._event(delta))]
            if events:
                yield b"".join(events)
        if self._usage is not None:
            yield self._framed({"choices": [], "usage": usage_object(self._usage())})

    async def _batches(self) -> AsyncIterator[Sequence[Delta]]:
        assert self._deltas is not None
        if self._first:
            yield self._first
            self._progress.place.counted(self._progress.characters)
        async for batch in self._deltas:
            yield batch
            self._progress.place.counted(self._progress.characters)

    def count(self) -> None:
        """Does nothing: the characters of an answer are counted as they arrive."""

    def _event(self, delta: Delta) -> bytes | None:
        match delta:
            case TextDelta():
                self._progress.characters += len(delta.text)
                return self._chunk({"content": delta.text})
            case ReasoningDelta():
                self._progress.characters += len(delta.text)
                return self._chunk({"reasoning_content": delta.text})
            case ToolCallDelta():
                self._progress.characters += len(delta.arguments) + len(delta.name or "")
                return self._chunk({"tool_calls": [self._call(delta)]})
            case Usage():
                self._progress.report(delta)
            case ProviderData() if thinking := list_of(delta.data.get("thinking")):
                return self._chunk({"thinking_blocks": thinking})
            case Finish():
                bare = [self._chunk({"tool_calls": [_empty(index)]}) for index in sorted(self._bare)]
                return b"".join([*bare, self._chunk({}, REASONS[delta.reason])])
            case _:
                pass
        return None

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        if delta.arguments:
            self._bare.discard(delta.index)
        elif delta.index not in self._ids:
            self._bare.add(delta.index)
        if delta.index in self._ids:
            return {"index": delta.index, "function": {"arguments": delta.arguments}}
        self._ids[delta.index] = delta.id or f"call_{uuid4().hex[:24]}"
        function = {"name": delta.name or "", "arguments": delta.arguments}
        return {"index": delta.index, "id": self._ids[delta.index], "type": "function", "function": function}

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        return self._framed({"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]})

    def _framed(self, fields: Mapping[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({"object": "chat.completion.chunk", **self._head, **fields}) + b"\n\n"

    # --- whole ------------------------------------------------------------------------------------------------------
    async def whole(self) -> dict[str, Any]:  # noqa: C901 - one case for each kind of delta
        """The whole answer, without its usage, which the caller adds. Raises ModelError."""
        said: dict[type[Delta], list[str]] = {TextDelta: [], ReasoningDelta: []}
        calls: dict[int, dict[str, Any]] = {}
        reason: str | None = None
        async for batch in self._batches():
            for delta in batch:
                self._progress.characters += _characters(delta)
                match delta:
                    case TextDelta() | ReasoningDelta():
                        said[type(delta)].append(delta.text)
                    case ToolCallDelta():
                        self._add(calls, delta)
                    case Usage():
                        self._progress.report(delta)
                    case ProviderData():
                        self._thinking = list_of(delta.data.get("thinking"))
                    case Finish():
                        reason = REASONS[delta.reason]
                    case Notice() | Answering():
                        pass
        if reason is None:
            raise ModelError("model_stream_truncated", "The model's answer broke off before its end.", retryable=True)
        text, thoughts = "".join(said[TextDelta]), "".join(said[ReasoningDelta])
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        if self._thinking:
            message["thinking_blocks"] = self._thinking
        for index in self._bare:
            calls[index]["function"]["arguments"] = "{}"
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {"object": "chat.completion", **self._head, "choices": [choice]}

    def _add(self, calls: dict[int, dict[str, Any]], delta: ToolCallDelta) -> None:
        made = self._call(delta)
        if "id" in made:
            calls[delta.index] = {name: made[name] for name in ("id", "type", "function")}
        else:
            calls[delta.index]["function"]["arguments"] += delta.arguments


def _empty(index: int) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": "{}"}}


def _characters(delta: Delta) -> int:
    match delta:
        case TextDelta() | ReasoningDelta():
            return len(delta.text)
        case ToolCallDelta():
            return len(delta.arguments) + len(delta.name or "")
        case _:
            return 0


def usage_object(usage: Usage) -> dict[str, Any]:
    """The usage in OpenAI's format. Both formats count cached tokens within the prompt, and reasoning within the
    answer."""
    written = {"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }

"""Anthropic's messages as a second front of the gateway: the same slugs, targets, breakers and bill.

A provider that speaks this wire is relayed as it comes; every other model is asked in our words, and its answer told in
Anthropic's.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.failures import found
from stoa.gateway.providers.fields import object_of
from stoa.gateway.providers.reading import broken_off
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.router import messages_asking, passing, rules
from stoa.gateway.router.asking import asked, extra_of
from stoa.gateway.router.calls import Calls
from stoa.gateway.router.chat import ChatFrames, Opened, Whole, headers
from stoa.gateway.router.messages_telling import MessageTranslation, event, usage_object
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.types import Call, Spoken, Target
from stoa.gateway.types import ModelRequest, Usage
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""`type` of a refusal, by its status; every other is `api_error`."""
_STOP: Final = b"message_stop"


def error_body(error: AppError) -> bytes:
    """A refusal in Anthropic's shape."""
    about = {"type": ERROR_TYPES.get(error.status, "api_error"), "message": error.message}
    return orjson.dumps({"type": "error", "error": about})


class Messages:
    def __init__(self, calls: Calls, routing: Routing, open_: set[ChatFrames]) -> None:
        """`open_`: the streams that end when this server stops."""
        self._calls = calls
        self._routing = routing
        self._streams = open_

    async def whole(self, principal: Principal, fields: dict[str, Any]) -> Whole:
        """Raises AppError. Cancelling it closes the provider's connection, and the call is billed by estimate."""
        call, targets = await self._resolved(principal, fields)
        notices: list[str] = []
        begun = await self._calls.begin(call, targets, partial(self._whole, call, notices))
        bill = self._calls.settle(begun, "completed")
        await begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        content = begun.opened
        if isinstance(content, dict):
            usage = rules.usage_of_call(call.prompt_characters, begun.spoken)
            content = orjson.dumps({**content, "usage": usage_object(usage)})
        return Whole(content, "application/json", headers(begun, bill, notices, ()))

    async def streamed(self, principal: Principal, fields: dict[str, Any]) -> tuple[ChatFrames, Mapping[str, str]]:
        """A stream that has begun, and the headers of its head. Raises AppError."""
        call, targets = await self._resolved(principal, fields)
        notices: list[str] = []
        begun = await self._calls.begin(call, targets, partial(self._open, call, notices))
        return MessageFrames(self._calls, begun, error_body, self._streams), headers(begun, None, notices, ())

    async def _resolved(self, principal: Principal, fields: dict[str, Any]) -> Any:
        messages_asking.check(fields)
        slug = rules.slug_of(fields)
        targets = await self._routing.targets(principal, slug)
        if not all(isinstance(target.model, AnthropicModel) for target in targets):
            messages_asking.chat_fields(fields)  # What could not be said to one of them is refused at once.
        return await self._calls.new(principal, slug, fields), targets

    # --- one target -------------------------------------------------------------------------------------------------
    async def _whole(
        self, call: Call, notices: list[str], stack: AsyncExitStack, target: Target, spoken: Spoken
    ) -> dict[str, Any] | bytes:
        if isinstance(target.model, AnthropicModel):
            body = orjson.dumps({**call.fields, "model": target.model.wire_name})
            return await _read_message(stack, target.model, body, spoken)
        translation = await self._translation(call, stack, target, spoken)
        made = await translation.whole()
        notices[:] = translation.notices
        return made

    async def _open(
        self, call: Call, notices: list[str], stack: AsyncExitStack, target: Target, spoken: Spoken
    ) -> Opened:
        if isinstance(target.model, AnthropicModel):
            relay = MessageRelay(target.model, spoken)
            await relay.open(stack, orjson.dumps({**call.fields, "model": target.model.wire_name}))
            return relay
        translation = await self._translation(call, stack, target, spoken)
        notices[:] = translation.notices
        return translation

    async def _translation(
        self, call: Call, stack: AsyncExitStack, target: Target, spoken: Spoken
    ) -> MessageTranslation:
        translation = MessageTranslation(
            target.model, call.slug, spoken, lambda: rules.usage_of_call(call.prompt_characters, spoken)
        )
        await translation.open(stack, _request(call, target))
        return translation


def _request(call: Call, target: Target) -> ModelRequest:
    chat = messages_asking.chat_fields(call.fields)
    source = target.model.source if isinstance(target.model, StreamingModel) else ""
    made = asked(chat, source).request
    return replace(made, extra=extra_of(target.model, messages_asking.sampling_of(chat)))


async def _read_message(stack: AsyncExitStack, model: AnthropicModel, body: bytes, spoken: Spoken) -> bytes:
    """An answer that is not streamed, as its provider gives it. Raises ModelError."""
    reply = await model.send(stack, model.path, body, streamed=False, timeouts=passing.WHOLE_TIMEOUTS)
    content = await passing.content_of(reply, spoken)
    held = passing.parsed(b"data: " + content.replace(b"\n", b" "))
    if not held.get("content") and (failure := found(held)) is not None:
        raise broken_off(failure, model.clean(failure.message))
    spoken.began = True
    if (usage := _usage(object_of(held.get("usage")))) is not None:
        spoken.report(usage)
    else:
        spoken.characters = rules.characters(held.get("content"))
    return content


class MessageRelay(passing.Relay):
    """A stream of Anthropic's own wire, as it comes; its end mark waits for the bill."""

    def __init__(self, model: AnthropicModel, spoken: Spoken) -> None:
        super().__init__(model, spoken, strip=False)
        self._counts: dict[str, Any] = {}

    def _relayed(self, events: bytes, *, check: bool = False) -> bytes:
        kept: list[bytes] = []
        for one in passing.split(events):
            if b'"usage"' not in one and b'"error"' not in one and _STOP not in one:
                kept.append(one)
                self._gather(one)
                continue
            held = passing.parsed(one)
            if check and held.get("type") == "error" and (failure := found(held)) is not None:
                raise broken_off(failure, self._model.clean(failure.message))
            if held.get("type") == "message_stop":
                self.done, self.trailer = True, one
                break
            self._counts |= object_of(object_of(held.get("message")).get("usage"))
            self._counts |= {name: value for name, value in object_of(held.get("usage")).items() if value is not None}
            if (usage := _usage(self._counts)) is not None:
                if held.get("type") == "message_delta":
                    self._spoken.report(usage)
                else:
                    self._spoken.report_prompt(usage)
            kept.append(one)
        return b"".join(kept)

    def _closes(self, events: bytes) -> bool:
        return b"content_block_delta" not in events

    def _characters(self, held: Mapping[str, Any]) -> int:
        delta = object_of(held.get("delta"))
        return rules.characters(delta) - len(str(delta.get("type", "")))


class MessageFrames(ChatFrames):
    def _event(self, error: AppError) -> bytes:
        about = {"type": ERROR_TYPES.get(error.status, "api_error"), "message": error.message}
        return event({"type": "error", "error": about})


def _usage(counts: Mapping[str, Any]) -> Usage | None:
    """Their input count leaves cached tokens out; ours holds every token of the prompt."""

    def count(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    cached = count("cache_read_input_tokens")
    prompt = count("input_tokens") + cached + count("cache_creation_input_tokens")
    return Usage(prompt, count("output_tokens"), cached) if prompt or count("output_tokens") else None

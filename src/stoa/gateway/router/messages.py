"""Anthropic's messages API on the gateway: the same slugs, targets, circuit breakers and bill.

The response of a provider with this API is relayed unchanged. For every other model the request is translated to
OpenAI's fields, and the answer to Anthropic's.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from stoa.gateway.prices import estimated_tokens
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.anthropic_reading import usage_of
from stoa.gateway.providers.failures import found
from stoa.gateway.providers.fields import object_of
from stoa.gateway.providers.reading import broken_off
from stoa.gateway.router import messages_request, relaying, rules
from stoa.gateway.router.calls import Attempt, Begun, Calls
from stoa.gateway.router.chat import ChatFrames, CompleteAnswer, Opened, headers
from stoa.gateway.router.chat_request import asked
from stoa.gateway.router.errors import FromProvider, refusal_of
from stoa.gateway.router.messages_response import MessageTranslation, event, usage_object
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.sampling import extra_of
from stoa.gateway.router.types import Call, CallProgress, Target
from stoa.gateway.types import ModelError, ModelRequest
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
COUNT_PATH: Final = "/messages/count_tokens"
_STOP: Final = b"message_stop"
_BETAS: Final = re.compile(r"[A-Za-z0-9_.:, -]{1,500}")
_DELTA: Final = b'"message_delta"'
"""The event that says why the message ends."""


def error_body(error: AppError) -> bytes:
    """A refusal in Anthropic's shape."""
    return orjson.dumps({"type": "error", "error": _about(error)})


def _about(error: AppError) -> Mapping[str, str]:
    overloaded = isinstance(error, FromProvider) and error.reason == "model_overloaded"
    kind = "overloaded_error" if overloaded else ERROR_TYPES.get(error.status, "api_error")
    return {"type": kind, "message": error.message}


class Messages:
    def __init__(self, calls: Calls, routing: Routing, open_: set[ChatFrames]) -> None:
        """`open_` is the set of open streams, which are ended when this server stops."""
        self._calls = calls
        self._routing = routing
        self._streams = open_

    async def whole(self, principal: Principal, fields: dict[str, Any], betas: str | None = None) -> CompleteAnswer:
        """Raises AppError. Cancelling it closes the provider's connection, and the call is billed by estimate. `betas`
        is what the caller's `anthropic-beta` says to a provider of that wire."""
        call, targets = await self._resolved(principal, fields)
        asking = _Asking(call, _sent(betas))
        begun = await self._calls.begin(call, targets, asking.whole)
        bill = self._calls.settle(begun, "completed")
        await begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        content = begun.opened
        if isinstance(content, dict):
            usage = rules.usage_of_call(call.prompt_characters, begun.progress)
            content = orjson.dumps({**content, "usage": usage_object(usage)})
        return CompleteAnswer(content, "application/json", headers(begun, bill, asking.notices, _ignored(begun)))

    async def streamed(
        self, principal: Principal, fields: dict[str, Any], betas: str | None = None
    ) -> tuple[ChatFrames, Mapping[str, str]]:
        """A stream that has begun, and its response headers. Raises AppError."""
        call, targets = await self._resolved(principal, fields)
        asking = _Asking(call, _sent(betas))
        begun = await self._calls.begin(call, targets, asking.open)
        told = headers(begun, None, asking.notices, _ignored(begun))
        return MessageFrames(self._calls, begun, error_body, self._streams), told

    async def count(self, principal: Principal, fields: dict[str, Any], betas: str | None = None) -> bytes:
        """The tokens of a request: counted by a provider with this API, else estimated. Nothing is billed. Raises
        AppError."""
        messages_request.check(fields, answered=False)
        slug = rules.slug_of(fields)
        model = (await self._routing.targets(principal, slug))[0].model
        if not isinstance(model, AnthropicModel):
            return orjson.dumps({"input_tokens": estimated_tokens(rules.prompt_characters(fields))})
        body = orjson.dumps({**fields, "model": model.wire_name})
        try:
            async with AsyncExitStack() as stack:
                reply = await model.send(stack, COUNT_PATH, body, streamed=False, headers=_sent(betas))
                return await relaying.content_of(reply)
        except ModelError as error:
            raise refusal_of(error) from error

    async def _resolved(self, principal: Principal, fields: dict[str, Any]) -> tuple[Call, Sequence[Target]]:
        messages_request.check(fields)
        slug = rules.slug_of(fields)
        targets = await self._routing.targets(principal, slug)
        if not all(isinstance(target.model, AnthropicModel) for target in targets):
            messages_request.chat_fields(fields)  # Refuses fields that cannot be translated.
        return await self._calls.new(principal, slug, fields), targets


@dataclass(frozen=True, slots=True)
class _Asking:
    """A call and its translations. `betas` is the header for a provider with this API; `notices` names the fields that
    were not sent to the provider that answers."""

    call: Call
    betas: Mapping[str, str]
    notices: list[str] = field(default_factory=list[str])

    async def whole(self, attempt: Attempt) -> dict[str, Any] | bytes:
        model = attempt.target.model
        if isinstance(model, AnthropicModel):
            return await _read_message(attempt, model, self._body(model), self.betas)
        translation = await self._translation(attempt)
        made = await translation.whole()
        self.notices[:] = translation.notices
        return made

    async def open(self, attempt: Attempt) -> Opened:
        model = attempt.target.model
        if isinstance(model, AnthropicModel):
            relay = MessageRelay(model, attempt.progress)
            await relay.open(attempt.stack, self._body(model), self.betas)
            return relay
        translation = await self._translation(attempt)
        self.notices[:] = translation.notices
        return translation

    def _body(self, model: AnthropicModel) -> bytes:
        return orjson.dumps({**self.call.fields, "model": model.wire_name})

    async def _translation(self, attempt: Attempt) -> MessageTranslation:
        call, progress = self.call, attempt.progress
        translation = MessageTranslation(
            attempt.target.model, call.slug, progress, lambda: rules.usage_of_call(call.prompt_characters, progress)
        )
        await translation.open(attempt.stack, _request(call, attempt.target))
        return translation


def _sent(betas: str | None) -> Mapping[str, str]:
    """The header for a provider with this API; a value that is not a list of names is not passed on."""
    return {"anthropic-beta": betas} if betas is not None and _BETAS.fullmatch(betas) else {}


def _ignored(begun: Begun[Any]) -> Sequence[str]:
    return () if isinstance(begun.target.model, AnthropicModel) else messages_request.ignored(begun.call.fields)


def _request(call: Call, target: Target) -> ModelRequest:
    chat = messages_request.chat_fields(call.fields)
    made = asked(chat, target.model).request
    return replace(made, extra=extra_of(target.model, messages_request.sampling_of(chat)))


async def _read_message(attempt: Attempt, model: AnthropicModel, body: bytes, betas: Mapping[str, str]) -> bytes:
    """An answer that is not streamed, as its provider sent it. Raises ModelError."""
    stack, progress = attempt.stack, attempt.progress
    reply = await model.send(stack, model.path, body, streamed=False, timeouts=relaying.WHOLE_TIMEOUTS, headers=betas)
    content = await relaying.content_of(reply, progress)
    held = relaying.parsed(b"data: " + content.replace(b"\n", b" "))
    if not held.get("content") and (failure := found(held)) is not None:
        raise broken_off(failure, model.clean(failure.message))
    progress.began = True
    if (usage := usage_of(object_of(held.get("usage")))) is not None:
        progress.report(usage)
    else:
        progress.characters = rules.characters(held.get("content"))
    return content


class MessageRelay(relaying.Relay):
    """A relayed stream of Anthropic's API; its end mark is held back until the call is billed."""

    end = event({"type": "message_stop"})

    def __init__(self, model: AnthropicModel, progress: CallProgress) -> None:
        super().__init__(model, progress, strip=False)
        self._counts: dict[str, Any] = {}

    def _relayed(self, events: bytes, *, check: bool = False) -> bytes:
        kept: list[bytes] = []
        for one in relaying.split(events):
            if b'"usage"' not in one and b'"error"' not in one and _STOP not in one:
                kept.append(one)
                self._gather(one)
                continue
            held = relaying.parsed(one)
            if held.get("type") == "error" and (failure := found(held)) is not None:
                self._failure = broken_off(failure, self._model.clean(failure.message))
                if check and not relaying.text_so_far(b"".join(kept)):
                    raise self._failure  # No content came before it.
                break
            if held.get("type") == "message_stop":
                self.done, self.trailer = True, one
                break
            self._counts |= object_of(object_of(held.get("message")).get("usage"))
            self._counts |= {name: value for name, value in object_of(held.get("usage")).items() if value is not None}
            if (usage := usage_of(self._counts)) is not None:
                if held.get("type") == "message_delta":
                    self._finished = True
                    self._progress.report(usage)
                else:
                    self._progress.report_prompt(usage)
            kept.append(one)
        return b"".join(kept)

    def _begins(self, events: bytes) -> bool:
        return any(parsed_.get("type", "ping") != "ping" for parsed_ in map(relaying.parsed, relaying.split(events)))

    def _closes(self, events: bytes) -> bool:
        self._finished = self._finished or _DELTA in events
        return b"content_block_delta" not in events

    def _characters(self, held: Mapping[str, Any]) -> int:
        delta = object_of(held.get("delta"))
        return rules.characters(delta) - len(str(delta.get("type", "")))


class MessageFrames(ChatFrames):
    def _event(self, error: AppError) -> bytes:
        return event({"type": "error", "error": _about(error)})

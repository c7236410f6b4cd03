"""Pure decisions of the gateway: what a request must have, what a call may cost, what is retried."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from stoa.gateway.prices import estimated_tokens
from stoa.gateway.router.types import CallProgress, PriceOf
from stoa.gateway.types import ModelError, Usage
from stoa.kernel.errors import BadRequest

SLUG_CHARACTERS_MAX: Final = 300
PROMPT: Final = ("system", "messages", "tools", "functions", "input", "response_format")
"""The fields of a request that a model reads."""
PICTURE_CHARACTERS: Final = 6_000
"""A picture counts as 1,500 tokens, whatever its size."""
AUDIO_BYTES_PER_CHARACTER: Final = 40
"""Base64 bytes of audio per counted character: a second of 32 kbit/s counts as 33 tokens."""
COMPLETION_TOKENS_DEFAULT: Final = 4_096
"""Reserved for an answer whose length the caller did not limit."""
TOKEN_CHARACTERS: Final = 4
"""Characters that a token counts as, if a caller sends tokens as numbers."""
DEPTH_MAX: Final = 64
_PICTURES: Final = frozenset({"base64", "url", "image_url", "input_image"})
"""The `type` of an object that holds a picture or its URL."""
RETRIES_MAX: Final = 2
BACKOFF_SECONDS: Final = 0.25
RETRY_AFTER_SECONDS_MAX: Final = 5.0
"""If a provider asks for a longer wait, its refusal is passed on to the caller, whose client can wait."""
_ANOTHER_MAY: Final = frozenset({"model_unauthorized", "model_not_found", "model_quota_exhausted"})
"""Refusals that are about one provider's account, not about the request."""
_NOT_AGAIN: Final = frozenset({"model_timeout", "model_stalled"})
"""Timeouts: another attempt would double the wait."""


def slug_of(fields: Mapping[str, Any]) -> str:
    """Raises BadRequest naming `model`."""
    slug = fields.get("model")
    if slug is None:
        raise BadRequest.field("model", "is required")
    if not isinstance(slug, str) or not slug.strip() or len(slug) > SLUG_CHARACTERS_MAX:
        raise BadRequest.field("model", "must be the slug of a model; GET /v1/models lists them")
    return slug


def check_chat(fields: Mapping[str, Any]) -> None:
    """Checks the fields that the gateway itself needs; the provider checks the others. Raises BadRequest."""
    slug_of(fields)
    messages = fields.get("messages")
    if messages is None:
        raise BadRequest.field("messages", "is required")
    if not isinstance(messages, list) or not messages:
        raise BadRequest.field("messages", "must be a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest.field(f"messages[{index}]", "must be an object")
        if not isinstance(message.get("role"), str):
            raise BadRequest.field(f"messages[{index}].role", "is required")
    if not isinstance(fields.get("stream", False), bool | None):
        raise BadRequest.field("stream", "must be true or false")
    options = fields.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest.field("stream_options", "must be an object")


def characters(value: Any, depth: int = 0) -> int:
    """The number of characters in a prompt."""
    if type(value) is str:
        return PICTURE_CHARACTERS if value.startswith("data:") else len(value)
    if depth >= DEPTH_MAX:
        return 0
    if type(value) is dict:
        kind = value.get("type")
        if type(kind) is str and kind in _PICTURES:
            return PICTURE_CHARACTERS
        if kind == "input_audio":
            sound = value.get("input_audio")
            return len(str(sound.get("data") if isinstance(sound, dict) else "")) // AUDIO_BYTES_PER_CHARACTER
        return sum([characters(one, depth + 1) for one in value.values()])
    if type(value) is list:
        return sum([TOKEN_CHARACTERS if type(one) is int else characters(one, depth + 1) for one in value])
    return 0


def prompt_characters(fields: Mapping[str, Any]) -> int:
    return sum([characters(fields[name]) for name in PROMPT if name in fields])


def usage_of_call(prompt_characters_: int, progress: CallProgress) -> Usage:
    """The provider's count, or an estimate of what it did not count: the answer, and usually the prompt too."""
    if progress.usage is not None:
        return progress.usage
    prompt = progress.prompt or Usage(estimated_tokens(prompt_characters_))
    return replace(prompt, completion_tokens=estimated_tokens(progress.characters), estimated=True)


def completion_tokens_max(fields: Mapping[str, Any], model_max: int | None) -> int:
    """The length of the answer that is reserved for: the caller's limit, or a default."""
    limits = [
        value
        for name in ("max_completion_tokens", "max_tokens")
        if isinstance(value := fields.get(name), int) and not isinstance(value, bool) and value > 0
    ]
    tokens = min(limits) if limits else min(model_max or COMPLETION_TOKENS_DEFAULT, COMPLETION_TOKENS_DEFAULT)
    return tokens * answers(fields)


def answers(fields: Mapping[str, Any]) -> int:
    """The number of choices that the request asks for."""
    count = fields.get("n")
    return count if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= 128 else 1


def dearest_usd(prompt_characters_: int, completion_tokens: int, prices: Sequence[PriceOf]) -> float | None:
    """The most that a call may cost at any of these targets; None if a price is not known."""
    tokens = estimated_tokens(prompt_characters_)
    plain, written = Usage(tokens, completion_tokens), Usage(tokens, completion_tokens, cache_write_tokens=tokens)
    costs = [price(usage) for price in prices for usage in (plain, written)]
    return max((cost for cost in costs if cost is not None), default=None) if None not in costs else None


def falls_back(error: ModelError) -> bool:
    """Whether another provider may answer after this failure."""
    return error.retryable or error.code in _ANOTHER_MAY


def wait_seconds(error: ModelError, attempt: int) -> float | None:
    """How long to wait before the same provider is asked again, `attempt` counting from 0; None: not again."""
    if not error.retryable or error.code in _NOT_AGAIN or attempt >= RETRIES_MAX:
        return None
    wait = error.retry_after_seconds if error.retry_after_seconds is not None else BACKOFF_SECONDS * 2**attempt
    return wait if wait <= RETRY_AFTER_SECONDS_MAX else None

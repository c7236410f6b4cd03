"""The common code of the readers of all wire formats: events in, deltas out, and the end of a reply."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import reduce
from typing import Any, Final

import orjson

from stoa.gateway.providers.failures import Failure, classified
from stoa.gateway.providers.loose import cleaned
from stoa.gateway.types import Delta, Finish, FinishReason, ModelError, ProviderData

PROVIDER_DATA_BYTES_MAX: Final = 512 * 1024
"""Larger data is dropped: it would be stored with each step of a run."""
NESTING: Final = 30
"""Levels of JSON around it in a run's stored state, and in a request."""
REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "eos": "stop", "eos_token": "stop", "end": "stop",
    "done": "stop",
    "complete": "stop", "completed": "stop", "finished": "stop", "normal": "stop", "success": "stop",
    "length": "length", "max_tokens": "length", "max_output_tokens": "length", "model_length": "length",
    "max_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls", "tool_call": "tool_calls", "tool_use": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "content_filtered": "content_filter", "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter", "prohibited_content": "content_filter", "spii": "content_filter",
    "image_safety": "content_filter",
    "sensitive": "content_filter", "guardrail_intervened": "content_filter", "language": "content_filter",
    "refusal": "refusal", "refused": "refusal",
}  # fmt: skip # a table
"""An unknown reason ends a reply with an error."""
NO_CALL: Final = "it says that the model called a tool, and there is no call."


class Reading(ABC):
    """Turns the events of one reply into deltas. One per exchange. Nothing in an event is trusted to be of a type."""

    ended = False
    """The wire's own end mark has come: nothing that follows counts."""
    finished = False
    """A reason for the end has come: the connection may close now."""

    @abstractmethod
    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        """Appends what the event says to `out`. Raises ModelError for an error that the provider sends in
        mid-stream."""

    @abstractmethod
    def close(self, out: list[Delta]) -> Finish:
        """At the end of the stream: appends the deltas that were held back. Raises ModelError for a reply that did not
        end well."""


def finish_of(reason: str, *, calls: bool, refused: bool = False) -> Finish:
    """The end of a reply as one of our reasons. Raises ModelError for an unknown reason."""
    known = REASONS.get(reason.strip().lower()) if reason else "stop"
    if known is None:
        raise ModelError(
            "model_error",
            f"The provider ended the answer with {reason[:60]!r} instead of completing it.",
            retryable=True,
        )
    if known in ("stop", "tool_calls"):
        known = "tool_calls" if calls else "refusal" if refused else "stop"
    return Finish(known)


def broken_off(failure: Failure, message: str) -> ModelError:
    """The error for a failure inside the stream; `message` is the part of its words that may be shown."""
    return classified(failure, f"The provider broke the answer off: {message}", status=None)


def kept(source: str, data: Mapping[str, Any]) -> ProviderData | None:
    """Data that the provider gets back later, in a form that can be stored; None if it cannot be."""
    try:
        plain = cleaned(dict(data))
        nested = reduce(lambda inner, _: [inner], range(NESTING), plain)
        if len(orjson.dumps(nested)) > PROVIDER_DATA_BYTES_MAX:
            return None
    except (TypeError, ValueError, RecursionError):
        return None
    return ProviderData(source, plain)

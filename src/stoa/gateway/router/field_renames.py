"""Renames that are made in a relayed request after its provider has refused it: a field or a role is renamed or left
out, and its meaning never changes."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from stoa.gateway.providers.concessions import Concessions
from stoa.gateway.providers.fields import list_of, object_of
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.types import ModelError

T = TypeVar("T")
LIMITS: Final[Mapping[str, str]] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
"""The two names of the output limit: reasoning models take one, most compatible servers the other."""
_UNKNOWN: Final = re.compile(
    r"unsupported|not supported|unrecognized|unexpected|not permitted|unknown|instead|not allowed|invalid role",
    re.IGNORECASE,
)


async def with_field_renames(
    model: OpenAIModel, fields: Mapping[str, Any], ask: Callable[[bytes, bool], Awaitable[T]], *, streamed: bool
) -> T:
    """The result of `ask`, which is called with the request's bytes and with whether only the gateway asked for the
    usage of the stream. A request that is refused because of a name is sent again with the other one, and so are later
    requests to this model. Raises ModelError."""
    granted = model.granted
    while True:
        body, ours = request_body(model, fields, granted, streamed=streamed)
        try:
            return await ask(body, ours)
        except ModelError as error:
            granted_next = next_rename(granted, fields, error, ours=ours)
            if granted_next is None:
                raise
            granted = granted_next
            model.grant(granted)


def request_body(
    model: OpenAIModel, fields: Mapping[str, Any], granted: Concessions, *, streamed: bool
) -> tuple[bytes, bool]:
    """The bytes for the provider, and whether the gateway must take the usage chunk out."""
    body = {**fields, "model": model.wire_name}
    wanted = object_of(fields.get("stream_options"))
    ours = streamed and not wanted.get("include_usage") and model.counts_when_asked and granted.stream_options
    if ours:
        body["stream_options"] = {**wanted, "include_usage": True}
    if granted.limit_name is not None and (limit := body.pop(LIMITS[granted.limit_name], None)) is not None:
        body[granted.limit_name] = body.get(granted.limit_name) or limit
    if not granted.developer_role:
        body["messages"] = [_by_system(message) for message in list_of(fields.get("messages"))]
    return orjson.dumps(body), ours


def next_rename(
    granted: Concessions, fields: Mapping[str, Any], error: ModelError, *, ours: bool
) -> Concessions | None:
    """What to try next; None where the refusal is about something else, or nothing is left to try. Pure."""
    if error.code != "model_refused_request":
        return None
    if ours and re.search(r"stream_options|include_usage", error.words):
        return replace(granted, stream_options=False)
    if not _UNKNOWN.search(error.words):
        return None
    for name, other in LIMITS.items():
        refused = fields.get(name) is not None and re.search(rf"\b{name}\b", error.words)
        if refused and granted.limit_name is None:
            return replace(granted, limit_name=other)
    if granted.developer_role and re.search(r"developer", error.words) and _has_developer(fields):
        return replace(granted, developer_role=False)
    return None


def _has_developer(fields: Mapping[str, Any]) -> bool:
    return any(object_of(message).get("role") == "developer" for message in list_of(fields.get("messages")))


def _by_system(message: Any) -> Any:
    return {**message, "role": "system"} if object_of(message).get("role") == "developer" else message

"""Parses a request of OpenAI's Responses. Pure.

A field that asks for something unsupported is refused by name; one that does not affect the answer is ignored.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.responses.tools import choice_of, read_tools
from stoa.kernel.errors import BadRequest

SAMPLING: Final = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "parallel_tool_calls",
)  # fmt: skip # a table
ECHOED: Final = (
    "instructions", "max_output_tokens", "max_tool_calls", "prompt_cache_key", "safety_identifier", "user",
)  # fmt: skip # a table


def read(fields: Mapping[str, Any]) -> Asked:
    """Raises BadRequest naming the field."""
    if fields.get("prompt") is not None:
        raise BadRequest.field("prompt", "is not taken: this server keeps no prompt templates; send instructions")
    previous, conversation = _text(fields, "previous_response_id"), _conversation(fields.get("conversation"))
    if previous and conversation:
        raise BadRequest.field("conversation", "cannot be sent together with previous_response_id")
    store = _flag(fields, "store", default=True)
    background = _flag(fields, "background", default=False)
    if conversation and not store:
        raise BadRequest.field("store", "cannot be false in a conversation: its answers are part of it")
    if background and not store:
        raise BadRequest.field("store", "cannot be false with background: the answer is read later")
    asked = Asked(
        _model(fields),
        [],
        {},
        {},
        previous,
        conversation,
        background,
        _flag(fields, "stream", default=False),
        store,
        metadata(fields.get("metadata")),
        _text(fields, "user"),
    )
    read_input(fields.get("input"), asked, "input")
    read_tools(fields, asked)
    _instructions(fields, asked)
    _answer(fields, asked)
    asked.echo = _echo(fields, asked)
    return asked


# --- simple fields --------------------------------------------------------------------------------------------------
def _model(fields: Mapping[str, Any]) -> str:
    slug = fields.get("model")
    if not isinstance(slug, str) or not slug.strip() or len(slug) > 300:
        raise BadRequest.field("model", "must be the slug of a model; GET /v1/models lists them")
    return slug


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest.field(name, "must be a string")
    return value or None


def _flag(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest.field(name, "must be true or false")
    return default if value is None else value


def _conversation(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, dict) else value
    if found is not None and not isinstance(found, str):
        raise BadRequest.field("conversation", "must be the id of a conversation, or an object with it")
    return found or None


def metadata(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise BadRequest.field("metadata", "must be an object of strings")
    if len(orjson.dumps(value)) > 16 * 1024:
        raise BadRequest.field("metadata", "is over 16 KiB as JSON")
    return value


# --- how to answer --------------------------------------------------------------------------------------------------
def _instructions(fields: Mapping[str, Any], asked: Asked) -> None:
    given = fields.get("instructions")
    if given is not None and not isinstance(given, str):
        raise BadRequest.field("instructions", "must be a string")
    if given:
        asked.wanted["instructions"] = given


def _answer(fields: Mapping[str, Any], asked: Asked) -> None:
    sampling: dict[str, Any] = {}
    for name in SAMPLING:
        value = fields.get(name)
        if value is None:
            continue
        wanted = bool if name == "parallel_tool_calls" else (int, float)
        if not isinstance(value, wanted) or (isinstance(value, bool) and name != "parallel_tool_calls"):
            raise BadRequest.field(name, "must be true or false" if wanted is bool else "must be a number")
        sampling[name] = value
    if (choice := choice_of(fields, asked)) is not None:
        sampling["tool_choice"] = choice
    reasoning, text = fields.get("reasoning"), fields.get("text")
    if isinstance(reasoning, dict) and isinstance(effort := reasoning.get("effort"), str):
        sampling["reasoning_effort"] = effort
    if isinstance(text, dict) and isinstance(verbosity := text.get("verbosity"), str):
        sampling["verbosity"] = verbosity
    limit = fields.get("max_output_tokens")
    if limit is not None:
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1_000_000:
            raise BadRequest.field("max_output_tokens", "must be a whole number of at least 1")
        asked.wanted["output_tokens_max"] = limit
    if sampling:
        asked.wanted["sampling"] = sampling
    if (schema := _schema(text)) is not None:
        asked.wanted["output_schema"] = schema


def _schema(text: Any) -> Mapping[str, Any] | None:
    if text is not None and not isinstance(text, dict):
        raise BadRequest.field("text", "must be an object")
    form = (text or {}).get("format")
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind == "json_schema" and isinstance(schema := form.get("schema"), dict):
        return schema
    raise BadRequest.field("text.format", "must be text, json_object, or json_schema with a schema")


# --- the response's own fields --------------------------------------------------------------------------------------
def _echo(fields: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """The fields of a response that repeat its request."""
    reasoning = fields.get("reasoning") if isinstance(fields.get("reasoning"), dict) else {}
    text = fields.get("text") if isinstance(fields.get("text"), dict) else {}
    assert reasoning is not None
    assert text is not None
    form = text.get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"name": "output", "description": None, "strict": False, **form}
    plain = {name: fields.get(name) for name in ECHOED}
    return {
        **plain,
        "background": asked.background,
        "frequency_penalty": fields.get("frequency_penalty") or 0,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": fields.get("parallel_tool_calls") is not False,
        "presence_penalty": fields.get("presence_penalty") or 0,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": asked.store,
        "temperature": fields["temperature"] if fields.get("temperature") is not None else 1.0,
        "text": {"format": form, **({"verbosity": text["verbosity"]} if text.get("verbosity") else {})},
        "tool_choice": fields.get("tool_choice") or "auto",
        "tools": [_shown(tool) for tool in fields.get("tools") or ()],
        "top_logprobs": 0,
        "top_p": fields["top_p"] if fields.get("top_p") is not None else 1.0,
        "truncation": fields.get("truncation") or "disabled",
    }


def _shown(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool as a response shows it, without the credentials for an MCP server."""
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": None, **tool}
    return {name: value for name, value in tool.items() if name not in ("authorization", "headers")}

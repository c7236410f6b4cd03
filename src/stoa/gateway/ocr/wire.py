"""The options of OCR, which come as a string that holds JSON, and its answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import ConfigDict, Field, ValidationError

from stoa.gateway.ocr import templates
from stoa.gateway.ocr.types import Llm, PageText
from stoa.gateway.registry import provider_of
from stoa.http import Body, Wire
from stoa.http.errors import explain
from stoa.kernel import json_values
from stoa.kernel.errors import BadRequest

VALUES_MAX: Final = 10_000
"""In the options, and in a template."""
MODEL_CHARACTERS_MAX: Final = 300
_PASSED: Final = ("temperature", "top_p", "seed", "reasoning_effort", "user")
B = TypeVar("B", bound="ParseOptions | ExtractOptions")


class ParseOptions(Body):
    """`llm`: the slug of a model, or an object with `model` and, where that is no slug, `type` (`openai`,
    `dynamiq.nodes.llms.OpenAI`) or `connection` (its name or id)."""

    llm: str | dict[str, Any]
    stream: bool = False


class ExtractOptions(Body):
    """`template`: a string that holds JSON, either a schema or an object whose values describe its fields."""

    ocr_llm: str | dict[str, Any]
    structured_output_llm: str | dict[str, Any]
    template: Annotated[str, Field(max_length=200_000)]
    stream: bool = False


class ParsedWire(Wire):
    """`text` is Markdown."""

    text: str


class ExtractedWire(Wire):
    """The fields of the template."""

    model_config = ConfigDict(extra="allow")


def options_of(text: str, model: type[B]) -> B:
    """Raises BadRequest naming every bad field below `options`."""
    fields = json_values.read(text.encode("utf-8", "surrogatepass"), "options", VALUES_MAX)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = [
            {**one, "loc": ("body", *(part for part in one["loc"] if part not in ("str", "dict[str,any]")))}
            for one in error.errors(include_url=False)
        ]
        details = {f"options.{name}".removesuffix(".body"): reason for name, reason in explain(found, model).items()}
        sentence = "; ".join(f"{name} {reason}" for name, reason in details.items())
        raise BadRequest(sentence, details=details) from error


def template_of(text: str) -> Mapping[str, Any]:
    """The schema of the answer. Raises BadRequest."""
    return templates.schema_of(json_values.read(text.encode("utf-8", "surrogatepass"), templates.FIELD, VALUES_MAX))


def llm_of(value: str | Mapping[str, Any], field: str) -> Llm:
    """Raises BadRequest naming `field`."""
    given = {"model": value} if isinstance(value, str) else value
    model = given.get("model")
    if not isinstance(model, str) or not model.strip() or len(model) > MODEL_CHARACTERS_MAX:
        raise BadRequest.field(field, "must name a model: its slug, or an object with `model`")
    connection = _connection(given)
    kind = given.get("type") or given.get("provider")
    provider = provider_of(kind) if isinstance(kind, str) else None
    by_name = [f"{connection}/{model}"] if isinstance(connection, str) else []
    by_type = [f"{provider}/{model}"] if provider else []
    limit = given.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise BadRequest.field(f"{field}.max_tokens", "must be a whole number of at least 1")
    return Llm(
        field,
        model,
        [*by_name, *by_type, model],
        connection if isinstance(connection, UUID) else None,
        limit,
        {name: given[name] for name in _PASSED if given.get(name) is not None},
    )


def _connection(given: Mapping[str, Any]) -> str | UUID | None:
    """By its name or its id, alone or in an object."""
    held = given.get("connection_id") or given.get("connection")
    if isinstance(held, dict):
        held = held.get("id") or held.get("name")
    if not isinstance(held, str):
        return None
    try:
        return UUID(held) if len(held) == 36 else held
    except ValueError:
        return held


# --- events -----------------------------------------------------------------------------------------------------------
def page_event(page: PageText) -> bytes:
    return event("page", {"page": page.page, "pages": page.pages, "text": page.text})


def result_event(data: Any) -> bytes:
    return event("result", {"data": data})


def event(name: str, body: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(body))

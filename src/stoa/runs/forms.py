"""Bodies as JSON or as a multipart form with files; read after the credential was checked."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from fastapi import Request, UploadFile
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile as FormUpload

from stoa.http.bodies import (
    ALLOWANCE,
    MESSAGE_LIMIT,
    MULTIPART_OVERHEAD_BYTES_MAX,
    UPLOAD_LIMIT,
    Allowance,
    allow,
    parse,
    read_json,
)
from stoa.http.errors import explain
from stoa.http.routing import described
from stoa.kernel.errors import BadRequest, UnsupportedMediaType

FILES: Final = "files"
FILES_MAX: Final = 64
FIELDS_MAX: Final = 64
B = TypeVar("B", bound=BaseModel)


def documented(model: type[BaseModel]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates an endpoint that reads its body by `read`: the OpenAPI document shows it."""
    return described(partial(_documented, model))


def _documented(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    form = {
        **schema,
        "properties": {
            **schema["properties"],
            FILES: {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    }
    example = getattr(model, "example", {})
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": {model.__name__: {"value": example}}},
                "multipart/form-data": {"schema": form},
            },
        }
    }


@asynccontextmanager
async def read(
    request: Request, model: type[B], objects: Collection[str]
) -> AsyncGenerator[tuple[B, Sequence[UploadFile]]]:
    """The body and its files, which are closed at the end. Of a form, the fields in `objects` hold JSON.

    Raises BadRequest, TooLarge and UnsupportedMediaType.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        allow(request.scope, UPLOAD_LIMIT)
        allowance: Allowance | None = request.scope.get(ALLOWANCE)
        if allowance is not None:
            allowance.overhead_bytes = MULTIPART_OVERHEAD_BYTES_MAX
        async with request.form(max_files=FILES_MAX, max_fields=FIELDS_MAX) as form:
            fields: dict[str, Any] = {}
            files: list[UploadFile] = []
            for name, value in form.multi_items():
                if isinstance(value, FormUpload):
                    if name != FILES:
                        raise BadRequest.field(name, f"is no file; send files in {FILES}")
                    files.append(value)  # pyright: ignore[reportArgumentType] # the framework's class has no more
                elif name.endswith("ids"):
                    fields.setdefault(name, []).append(value)
                else:
                    fields[name] = _object(name, value) if name in objects else value
            yield _checked(model, fields), files
        return
    if kind and not (kind == "application/json" or kind.endswith("+json")):
        raise UnsupportedMediaType(
            f"Send the body as application/json or multipart/form-data; this one came as {kind[:100]}."
        )
    allow(request.scope, MESSAGE_LIMIT)
    yield _checked(model, await read_json(await request.body(), MESSAGE_LIMIT)), ()


def _object(name: str, text: str) -> Any:
    try:
        return parse(text.encode("utf-8", "surrogatepass"))
    except BadRequest as error:
        raise BadRequest.field(name, "must be a JSON object, as a string") from error


def _checked(model: type[B], value: Any) -> B:
    """Raises BadRequest naming every bad field, as the framework's routes do."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        details = explain(found, model)
        raise BadRequest("; ".join(f"{name} {reason}" for name, reason in details.items()), details=details) from error

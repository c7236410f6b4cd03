"""Adapts the framework's OpenAPI document for client generators.

The document lists only statuses that are answered, has one short name for each schema, names operations by the route's
function, and has an example for each JSON request. A model defines its example in the class variable `example`
(stoa.http.wire).
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoa.http.wire import REFUSAL_CONTENT, REFUSAL_MEANINGS

_VALIDATION: Final = ("HTTPValidationError", "ValidationError")
"""The framework's own error schema, which is never sent."""
_GENERIC: Final = re.compile(r"^(?P<outer>DataList|Data)_(?P<many>list_)?(?P<inner>\w+?)_+$")
_OF_SLICE: Final = re.compile(r"^stoa__(?P<slice>[a-z]+)__(?:\w+__)?(?P<name>[A-Z][A-Za-z0-9]*)$")
"""The framework's name for models of the same name in two slices."""
_REFERENCE: Final = "#/components/schemas/"
_MODEL: Final = "stoa_model"
"""The attribute of an endpoint with the model of its pre-rendered response."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: unique on a host, which a test checks."""
    return route.name


def documents(model: Callable[[], type[BaseModel]]) -> Callable[[Endpoint], Endpoint]:
    """Decorates an endpoint with a pre-rendered response: its model is loaded only for the document."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MODEL, model)
        return endpoint

    return mark


def described(name: str) -> dict[str, Any]:
    """A response of a route with `documents`, by its model's name."""
    content = {"application/json": {"schema": {"$ref": f"{_REFERENCE}{name}"}}}
    return {"description": "Successful Response", "content": content}


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Replaces `app.openapi`, and serves the document at `/openapi.json`."""
    make = app.openapi

    def fit() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            for router in routers:
                for route in router.routes:
                    model = getattr(getattr(route, "endpoint", None), _MODEL, None)
                    if model is not None:
                        _bring_in(model(), document["components"]["schemas"])
            app.openapi_schema = fitted(document)
        return app.openapi_schema

    app.openapi = fit  # type: ignore[method-assign] # the framework's documented way
    app.router.routes.append(_route(app))


def _route(app: FastAPI) -> Route:
    """The document is made and encoded once, at the first request for it, in a thread: for the largest host this takes
    more than a second of CPU."""
    lock = asyncio.Lock()
    encoded: list[bytes] = []

    async def document(request: Request) -> Response:
        async with lock:
            if not encoded:
                encoded.append(await asyncio.to_thread(lambda: orjson.dumps(app.openapi())))
        body = encoded[0]
        if root_path := request.scope.get("root_path", "").rstrip("/"):
            body = b'%b,"servers":%b}' % (body[:-1], orjson.dumps([{"url": root_path}]))
        return Response(body, media_type="application/json")

    return Route("/openapi.json", document, include_in_schema=False)


def _bring_in(model: type[BaseModel], schemas: dict[str, Any]) -> None:
    schema = model.model_json_schema(ref_template=f"{_REFERENCE}{{model}}", mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def fitted(document: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = document.get("components", {}).get("schemas", {})
    for operation in _operations(document):
        _hoist(operation, schemas)
        _answer_truly(operation)
    for name in _VALIDATION:
        schemas.pop(name, None)
    for operation in _operations(document):
        _exemplify(operation, schemas)
    for schema in schemas.values():
        _mark_files(schema)
    names = _short(list(schemas))
    renamed: dict[str, Any] = _renamed(document, names)
    kept: dict[str, Any] = renamed.get("components", {}).get("schemas", {})
    if kept:
        renamed["components"]["schemas"] = {names[name]: _titled(names[name], schema) for name, schema in kept.items()}
    return renamed


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))


def _hoist(value: Any, schemas: dict[str, Any]) -> None:
    """Moves the models of a route's own schema (`$defs`) to where the document's references point."""
    if isinstance(value, dict):
        for name, model in value.pop("$defs", {}).items():
            schemas.setdefault(name, model)
            _hoist(model, schemas)
        if isinstance(reference := value.get("$ref"), str) and reference.startswith("#/$defs/"):
            value["$ref"] = f"{_REFERENCE}{reference.removeprefix('#/$defs/')}"
    for inner in list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _hoist(inner, schemas)


def _answer_truly(operation: dict[str, Any]) -> None:
    """Removes the framework's 422, and adds the refusals that every body may get."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    if "requestBody" in operation:
        for status in (413, 415):
            responses.setdefault(str(status), {"description": REFUSAL_MEANINGS[status], "content": REFUSAL_CONTENT})
    operation["responses"] = dict(sorted(responses.items()))


def _mark_files(value: Any) -> None:
    """Marks a form's files as generators expect; the framework's own marker (`contentMediaType`) is read as a text."""
    if isinstance(value, dict) and value.get("contentMediaType") == "application/octet-stream":
        del value["contentMediaType"]
        value["format"] = "binary"
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _mark_files(inner)


def _exemplify(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Adds the examples of a JSON request's model, or of each of its models."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return
    found: dict[str, Any] = {}
    schema = media["schema"]
    for member in (schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())):
        name = member.get("$ref", "").removeprefix(_REFERENCE)
        for example in schemas.get(name, {}).get("examples", ()):
            found[name] = {"value": example}
    if found:
        media["examples"] = found


def _short(names: list[str]) -> dict[str, str]:
    """A name for each schema, without our suffixes and the framework's underscores, if it stays unique."""
    wanted = {name: _shorten(name) for name in names}
    counts = {short: sum(other == short for other in wanted.values()) for short in wanted.values()}
    return {name: short if counts[short] == 1 else name for name, short in wanted.items()}


def _shorten(name: str) -> str:
    if name.startswith("Body_"):
        return "".join(part.capitalize() for part in name.removeprefix("Body_").split("_")) + "Form"
    if found := _OF_SLICE.match(name):
        return f"{found['slice'].capitalize()}{_shorten(found['name'])}"
    if generic := _GENERIC.match(name):
        inner = _shorten(generic["inner"])
        return f"{inner}List" if generic["outer"] == "DataList" else f"{inner}{'s' if generic['many'] else ''}Answer"
    return name.removesuffix("Wire") or name


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: f"{_REFERENCE}{names[one.removeprefix(_REFERENCE)]}"
            if key == "$ref" and isinstance(one, str) and one.removeprefix(_REFERENCE) in names
            else {tag: _mapped(target, names) for tag, target in one.items()}
            if key == "mapping" and isinstance(one, dict)
            else _renamed(one, names)
            for key, one in value.items()
        }
    return [_renamed(one, names) for one in value] if isinstance(value, list) else value


def _mapped(target: Any, names: dict[str, str]) -> Any:
    """The schema of a discriminator's value."""
    name = str(target).removeprefix(_REFERENCE)
    return f"{_REFERENCE}{names[name]}" if name in names else target


def _titled(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "title": name} if "title" in schema else schema

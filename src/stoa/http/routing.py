"""Routes that check a request's head first, in this order: the key, the query, the media type, the length. Only then is
its body read.

The framework reads the body first and checks the key afterwards, so anybody could make the server spool 128 MiB.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from fastapi import APIRouter, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from stoa.http.authentication import PERMISSIONS, Gate, bearer_token
from stoa.http.bodies import (
    ALLOWANCE,
    JSON_LIMIT,
    MULTIPART_OVERHEAD_BYTES_MAX,
    UPLOAD_LIMIT,
    Allowance,
    BodyLimit,
    read_json,
)
from stoa.http.errors import did_you_mean
from stoa.http.openapi import operation_id
from stoa.kernel.errors import BadRequest, TooLarge, UnsupportedMediaType

ANY_ROUTE_TAKES: Final = frozenset(
    {"include_archived", "include_system", "include_official", "type", "page", "page_size"}
)
"""Query parameters that clients of the platform send to every route, also if it does not filter by them (contract
section 3)."""
NAMED_MAX: Final = 20
"""Errors of one request that are named."""
EXPLAINED_BYTES_MAX: Final = 16 * 1024
"""A body up to this size cannot have so many errors that naming them takes long."""
BODY_LIMIT: Final = "stoa_body_limit"
"""The attribute of an endpoint with the BodyLimit of its route."""
DESCRIPTION: Final = "stoa_description"
"""The attribute of an endpoint with the function that builds its additional OpenAPI fields."""
_JSON: Final = re.compile(r"application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """Built at its first request, or for the OpenAPI document: a server has some 200 routes, and building all of them
    at the start takes half a second. Until then it only has what matching needs. The OpenAPI documents need every
    route, so their tests find a route that cannot be built.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        make = super().__init__

        def build() -> None:
            if describe := getattr(endpoint, DESCRIPTION, None):
                options["openapi_extra"] = describe()
            make(path, endpoint, **options)

        self._build: Callable[[], None] | None = build
        self.path, self.endpoint, self.name = path, endpoint, options.get("name") or endpoint.__name__
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = {method.upper() for method in options.get("methods") or ("GET",)}
        self.include_in_schema = options.get("include_in_schema", True)

    def __getattr__(self, name: str) -> Any:
        """Called for attributes that do not exist yet."""
        build = self.__dict__.get("_build")
        if build is None:
            raise AttributeError(name)
        self._build = None
        build()
        return getattr(self, name)

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()
        guard = _Guard(self)

        async def guarded(request: Request) -> Response:
            await guard.admit(request)
            return await answer(await guard.read(request))

        return guarded


class Routes(APIRouter):
    """An APIRouter of guarded routes, whose responses omit unset fields (contract section 2)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=GuardedRoute, generate_unique_id_function=operation_id, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["response_model_exclude_none"] = True
        super().add_api_route(path, endpoint, **options)


def limited(limit: BodyLimit) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates an endpoint whose body may be larger, or must be smaller, than other JSON."""

    def mark(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        setattr(endpoint, BODY_LIMIT, limit)
        return endpoint

    return mark


def described(describe: Callable[[], dict[str, Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates an endpoint whose `openapi_extra` is slow to build: it is built with the route."""

    def mark(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        setattr(endpoint, DESCRIPTION, describe)
        return endpoint

    return mark


class _Guard:
    """What one route requires of its requests."""

    def __init__(self, route: APIRoute) -> None:
        dependants = list(_flat(route.dependant))
        self._gates: list[tuple[Gate, tuple[str, ...]]] = [
            found for one in dependants if (found := getattr(one.call, PERMISSIONS, None)) is not None
        ]
        self._query = {field.alias for one in dependants for field in one.query_params}
        self._strict = bool(self._gates or self._query)
        """Pages and probes that anybody may ask for take whatever a link or a balancer appends."""
        self._body = route.body_field is not None
        self._type: Any = route.body_field.field_info.annotation if route.body_field is not None else None
        self._adapter: TypeAdapter[Any] | None = None
        """Of the body's type, once one was large."""
        self._form = route.body_field is not None and isinstance(route.body_field.field_info, params.Form)
        usual = UPLOAD_LIMIT if self._form else JSON_LIMIT
        self._fields = {field.alias: field.field_info.is_required() for one in dependants for field in one.body_params}
        self._limit: BodyLimit = getattr(route.endpoint, BODY_LIMIT, usual)

    async def admit(self, request: Request) -> None:
        """Raises Unauthorized, Forbidden, RateLimited, BadRequest, UnsupportedMediaType or TooLarge."""
        for gate, permissions in self._gates:
            await gate.admit(request, bearer_token(request), *permissions)
        if self._strict:
            self._check_query(request)
        if self._body:
            self._check_body(request)

    def _check_query(self, request: Request) -> None:
        unknown = (name for name in request.query_params if name not in self._query and name not in ANY_ROUTE_TAKES)
        details = {
            name: f"is no parameter of this route{did_you_mean(name, self._query)}"
            for name in islice(unknown, NAMED_MAX)
        }
        # No row has a NUL, and PostgreSQL accepts none as a parameter.
        unstorable = (name for name, value in request.query_params.multi_items() if "\x00" in value)
        _refuse(details | dict.fromkeys(islice(unstorable, NAMED_MAX), "cannot hold the character NUL"))

    def _check_form(self, form: FormData) -> None:
        """Raises BadRequest. Names missing fields too, because one may be misspelt."""
        unknown = list(islice((name for name in form if name not in self._fields), NAMED_MAX))
        details = {name: f"is no field of this form{did_you_mean(name, self._fields)}" for name in unknown}
        if unknown:
            missing = (name for name, required in self._fields.items() if required and name not in form)
            details |= dict.fromkeys(missing, "is required")
        _refuse(details)

    def _check_body(self, request: Request) -> None:
        sent = request.headers.get("content-type", "")
        if self._form and not sent.lower().startswith("multipart/form-data"):
            raise UnsupportedMediaType("Send the file as multipart/form-data, in a field named file.")
        if not self._form and sent and not _JSON.match(sent):
            raise UnsupportedMediaType(
                f"Send the body as JSON, with Content-Type: application/json; this one came as {sent[:100]}."
            )
        allowance: Allowance | None = request.scope.get(ALLOWANCE)
        if allowance is None:  # None in a test without the edge.
            return
        allowance.limit = self._limit
        allowance.overhead_bytes = MULTIPART_OVERHEAD_BYTES_MAX if self._form else 0
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > allowance.bytes_max:
            raise TooLarge(allowance.message)

    async def read(self, request: Request) -> Request:
        """The request with its JSON parsed and checked, or with the field names of its form. The framework reads the
        form again from the request, which caches it; files are spooled to disk."""
        if not self._body:
            return request
        if self._form:
            form = await request.form()
            try:
                self._check_form(form)
            except BadRequest:
                await form.close()
                raise
            return request
        body = await request.body()
        if not body or not request.headers.get("content-type"):
            return request
        value = await read_json(body, self._limit)
        if len(body) > EXPLAINED_BYTES_MAX:
            self._adapter = self._adapter or TypeAdapter(self._type)
            value = await self._explicable(value, self._adapter)
        return _Checked(request, body, value)

    @staticmethod
    async def _explicable(value: Any, adapter: TypeAdapter[Any]) -> Any:
        """The value; if it has very many errors, only the beginning of each list and object, whose errors the framework
        then names, because naming ten thousand takes half a second. Raises BadRequest if the beginnings are valid.
        """
        await asyncio.sleep(0)  # Yields between reading and checking, which both take time.
        try:
            adapter.validate_python(value, from_attributes=True)
        except ValidationError as found:
            if found.error_count() <= NAMED_MAX:
                return value
            faults = found.error_count()
        else:
            return value
        await asyncio.sleep(0)
        beginning = _beginning(value)
        try:
            adapter.validate_python(beginning, from_attributes=True)
        except ValidationError:
            return beginning
        raise BadRequest(f"The body has {faults} faults, all of them behind the first {NAMED_MAX} values of a list.")


def _beginning(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _beginning(one) for name, one in islice(value.items(), NAMED_MAX)}
    return [_beginning(one) for one in islice(value, NAMED_MAX)] if isinstance(value, list) else value


def _refuse(details: Mapping[str, str]) -> None:
    """Raises BadRequest if there are problems."""
    if details:
        named = {name[:100]: reason for name, reason in sorted(details.items())}
        raise BadRequest("; ".join(f"{name} {reason}" for name, reason in named.items()), details=named)


class _Checked(Request):
    """A request whose body was read."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._content = body
        self._value = value

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _flat(below)

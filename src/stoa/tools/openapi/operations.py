"""One operation of an OpenAPI document as an HTTP tool. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urljoin

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stoa.tools import rules
from stoa.tools.openapi.text import VALUES_MAX, TooMany, clean, storable
from stoa.tools.schemas import Document, Unusable
from stoa.tools.types import ImportRequest, NewTool, Planned, ToolKind

DESCRIPTION_CHARACTERS_MAX: Final = 1_000
_REPEATABLE: Final = frozenset({"get", "put", "delete"})
_DROPPED_HEADERS: Final = frozenset(
    {
        "accept",
        "content-type",
        "authorization",
        "idempotency-key",
        "host",
        "content-length",
        "connection",
        "transfer-encoding",
    }
)
"""Headers that OpenAPI defines elsewhere, or that we set ourselves."""
_STYLES: Final = {"spaceDelimited": "space", "pipeDelimited": "pipe", "deepObject": "deep"}


class _Parameter(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    in_: Literal["path", "query", "header", "cookie"] = Field(alias="in")
    required: bool | None = False
    description: Any = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    content: dict[str, dict[str, Any]] | None = None
    style: str | None = None
    explode: bool | None = None


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: dict[str, dict[str, Any] | None]
    required: bool | None = False
    description: Any = None


@dataclass(slots=True)
class _Draft:
    """A tool in the making."""

    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    required: list[str] = field(default_factory=list[str])
    places: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])

    def take(self, name: str, where: str) -> str:
        """The argument's name: unique, and valid for every provider."""
        made = rules.safe_name(name)
        while made in self.properties:
            made = rules.safe_name(f"{made}_{where}")
        return made


class Skipped(Exception):
    """This operation cannot be a tool; the message says why."""


class Operation:
    def __init__(
        self,
        root: Mapping[str, Any],
        request: ImportRequest,
        path: str,
        method: str,
        item: Mapping[str, Any],
        operation: Mapping[str, Any],
    ) -> None:
        self._root = root
        self._request = request
        self._path = path
        self._method = method
        self._item = item
        self._operation = operation
        self._document = Document(root)
        self._draft = _Draft()

    def planned(self) -> Planned:
        url = self._base() + self._parameters()
        self._body()
        headers, query = dict(self._request.headers), dict(self._request.query)
        self._secure(headers, query)
        draft = self._draft
        parameters: dict[str, Any] = {"type": "object", "properties": draft.properties}
        if draft.required:
            parameters["required"] = draft.required
        if defs := self._document.definitions():
            parameters["$defs"] = defs
        config: dict[str, Any] = {
            "method": self._method.upper(),
            "url": url,
            "headers": headers,
            "query": query,
            "parameters": parameters,
            "places": draft.places,
        }
        if self._request.ca_bundle is not None:
            config["ca_bundle"] = self._request.ca_bundle
        try:
            config = clean(config)
        except TooMany as error:
            raise Skipped(f"it stands for more than {VALUES_MAX} values") from error
        try:
            orjson.dumps(config)
        except TypeError as error:
            raise Unusable("parameters", "are nested too deeply") from error
        request = self._request
        new = NewTool(
            self._name(),
            ToolKind.HTTP,
            self._description(),
            config,
            request.secrets,
            self._method in _REPEATABLE,
            request.approval,
            (),
            request.timeout_seconds,
            request.output_bytes_max,
        )
        return Planned(
            storable(f"{self._method.upper()} {self._path}"), new, tuple(storable(note) for note in draft.notes)
        )

    # --- names and addresses ----------------------------------------------------------------------------------------
    def _name(self) -> str:
        plain = str(self._operation.get("operationId") or f"{self._method}{self._path}")
        return rules.safe_name(self._request.prefix + re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_") or self._method)

    def _description(self) -> str:
        texts = [str(self._operation[key]).strip() for key in ("summary", "description") if self._operation.get(key)]
        words = "\n\n".join(dict.fromkeys(one for one in texts if one)) or f"{self._method.upper()} {self._path}"
        if self._operation.get("deprecated") is True:
            words = f"(deprecated) {words}"
        return storable(words if len(words) <= DESCRIPTION_CHARACTERS_MAX else f"{words[:DESCRIPTION_CHARACTERS_MAX]}…")

    def _base(self) -> str:
        if self._request.base_url is not None:
            return self._request.base_url.rstrip("/")
        servers = (
            self._operation.get("servers") or self._item.get("servers") or self._root.get("servers") or [{"url": "/"}]
        )
        found = [_server(one, self._request.url) for one in servers] if isinstance(servers, list) else []
        usable = [url for url in found if url is not None and url.startswith(("http://", "https://"))]
        if not found or None in found:
            raise Unusable("servers", "must be a list of objects with a url")
        if not usable:
            raise Unusable("servers", "name no address; send base_url")
        if missing := re.search(r"\{[^{}/]*\}", usable[0]):
            raise Unusable("servers", f"have no value for {missing[0]} in {usable[0][:200]}; send base_url")
        return usable[0].rstrip("/")

    # --- arguments --------------------------------------------------------------------------------------------------
    def _parameters(self) -> str:
        """Collects the parameters; returns the path with the placeholders of a tool."""
        path, found = self._path, self._found()
        for (name, where), (place, parameter) in found.items():
            if where == "header" and name.lower() in _DROPPED_HEADERS:
                continue
            if where == "cookie":
                if parameter.required:
                    raise Skipped(f"it wants the cookie {name}, and tools send none")
                continue
            if where == "path" and f"{{{name}}}" not in path:
                self._draft.notes.append(f"The parameter {name} is left out: it is not in the path.")
                continue
            if where == "path" and parameter.style in ("label", "matrix"):
                raise Skipped(f"its parameter {name} is written as a {parameter.style}, and tools write plain values")
            argument = self._draft.take(name if where != "path" else re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", name), where)
            if where == "path":
                path = path.replace(f"{{{name}}}", f"\0{argument}\1")
            encoding = self._encoding(parameter)
            schema: Any = parameter.schema_
            if parameter.content:
                media = next(iter(parameter.content.values())) or {}
                schema = media.get("schema")
            made = self._document.unfolded({} if schema is None else schema, f"{place}.schema")
            self._draft.properties[argument] = _described(made, parameter.description)
            if parameter.required or where == "path":
                self._draft.required.append(argument)
            self._draft.places[argument] = (
                {"in": where}
                | ({"name": name} if name != argument else {})
                | ({"encoding": encoding} if encoding else {})
            )
        if missing := re.findall(r"\{([^{}]*)\}", path):
            raise Unusable("parameters", f"do not describe {{{missing[0]}}} of the path")
        if "{" in path or "}" in path:
            raise Unusable("path", "has a brace too many")
        return path.replace("\0", "{").replace("\1", "}")

    def _found(self) -> dict[tuple[str, str], tuple[str, _Parameter]]:
        """An operation's own parameters replace those of its path."""
        found: dict[tuple[str, str], tuple[str, _Parameter]] = {}
        for holder in (self._item, self._operation):
            held = holder.get("parameters") or []
            if not isinstance(held, list):
                raise Unusable("parameters", "must be a list")
            for index, one in enumerate(held):
                place = f"parameters[{index}]"
                parameter = _read(_Parameter, self._document.resolved(one, place), place)
                found[parameter.name, parameter.in_] = (place, parameter)
        return found

    def _encoding(self, parameter: _Parameter) -> str | None:
        if parameter.content:
            return "json"
        if parameter.style in _STYLES:
            return _STYLES[parameter.style]
        return "comma" if parameter.in_ == "query" and parameter.explode is False else None

    def _body(self) -> None:
        if self._operation.get("requestBody") is None:
            return
        body = _read(
            _RequestBody, self._document.resolved(self._operation["requestBody"], "requestBody"), "requestBody"
        )
        media, encoding = next(
            ((media, encoding) for media in body.content if (encoding := _body_encoding(media))), ("", None)
        )
        if encoding is None:
            if body.required:
                raise Skipped(
                    f"its body must be {', '.join(body.content) or 'of a type it does not name'}, "
                    "and tools send JSON, forms and text"
                )
            return
        if self._method == "get" and not body.required:
            self._draft.notes.append("Its body is left out: HTTP gives a body of a GET no meaning.")
            return
        argument = self._draft.take("body", "json")
        schema = self._document.unfolded(
            (body.content[media] or {}).get("schema") or {}, f"requestBody.content.{media}.schema", writing=True
        )
        self._draft.properties[argument] = _described(schema, body.description)
        if body.required:
            self._draft.required.append(argument)
        self._draft.places[argument] = {"in": "body"} | ({"encoding": encoding} if encoding != "json" else {})

    # --- security ---------------------------------------------------------------------------------------------------
    def _secure(self, headers: dict[str, str], query: dict[str, str]) -> None:
        """A secret with a scheme's name is sent as the scheme says; a missing one becomes a note."""
        wanted = self._operation.get("security", self._root.get("security")) or []
        alternatives = [list(one) for one in wanted if isinstance(one, Mapping)] if isinstance(wanted, list) else []
        if not alternatives or [] in alternatives:
            return
        chosen = next((names for names in alternatives if set(names) <= set(self._request.secrets)), None)
        if chosen is None:
            if not headers and not query:
                self._draft.notes.append(
                    f"The service wants {' or '.join(' and '.join(names) for names in alternatives)}: "
                    "send headers, or secrets of these names."
                )
            return
        components = self._root.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
        for name in chosen:
            scheme = self._document.resolved(
                schemes.get(name) if isinstance(schemes, Mapping) else None, f"components.securitySchemes.{name}"
            )
            value = f"{{{{secret.{name}}}}}"
            kind, where = scheme.get("type"), scheme.get("in")
            if kind == "http":
                headers.setdefault(
                    "Authorization", f"{'Basic' if str(scheme.get('scheme')).lower() == 'basic' else 'Bearer'} {value}"
                )
            elif kind in ("oauth2", "openIdConnect"):
                headers.setdefault("Authorization", f"Bearer {value}")
            elif kind == "apiKey" and where in ("header", "query"):
                (headers if where == "header" else query).setdefault(str(scheme.get("name")), value)
            else:
                self._draft.notes.append(f"The scheme {name} cannot be sent; send headers instead.")


def _server(server: Any, document_url: str | None) -> str | None:
    """A server's URL with its variables filled, or None if it has none."""
    if not isinstance(server, Mapping) or not isinstance(server.get("url"), str):
        return None
    url = str(server["url"]).strip() or "/"
    variables = server.get("variables")
    for name, variable in (variables if isinstance(variables, Mapping) else {}).items():
        if isinstance(variable, Mapping):
            choices = variable.get("enum")
            default = variable.get("default", choices[0] if isinstance(choices, list) and choices else None)
            if default is not None:
                url = url.replace(f"{{{name}}}", str(default))
    return urljoin(document_url, url) if document_url is not None else url


def _described(schema: Any, description: Any) -> Any:
    if not isinstance(description, str) or not description or not isinstance(schema, dict) or "description" in schema:
        return schema
    return {**schema, "description": description[:DESCRIPTION_CHARACTERS_MAX]}


def _body_encoding(named: str) -> str | None:
    media = named.partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json") or media in ("*/*", "application/*"):
        return "json"
    return {"application/x-www-form-urlencoded": "form", "text/plain": "text"}.get(media)


def _read(model: type[Any], value: Mapping[str, Any], place: str) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unusable(".".join([place, *map(str, first["loc"])]), f"is wrong: {first['msg']}") from error

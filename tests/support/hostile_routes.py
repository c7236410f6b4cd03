"""Requests that are expensive to answer, made from the OpenAPI documents of a server's hosts: for each operation its
body, query and path with something huge in one place."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

HUGE = {
    "words": b'"' + b"ab " * 300_000 + b'"',
    "escapes": b'"' + rb"\u0041" * 150_000 + b'"',
    "lists": b"[" + b"[]," * 20_000 + b"[]]",
    "more lists": b"[" + b"[]," * 300_000 + b"[]]",
    "keys": b"{" + b",".join(b'"%d":{"a":1}' % number for number in range(15_000)) + b"}",
    "deep": b"[" * 300 + b"]" * 300,
    "deeper": b"[" * 400_000,
    "texts": b"[" + b",".join([b'"some text"'] * 45_000) + b"]",
    "digits": b"9" * 900_000,
    "strange": json.dumps("﷽\u0301" * 60_000).encode(),
}
FORM = "multipart/form-data; boundary=b"
FIELDS = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 15_000 + b"--b--\r\n"
NAMED = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + b"n" * 500_000 + b'"\r\n\r\nx\r\n--b--\r\n'
HEADED = b"--b\r\n" + b"X-A: 1\r\n" * 60_000 + b'Content-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'
MANY = "&".join(f"p{number}=" for number in range(6_000))
BODIES_MAX = 3
"""The limit for one operation; fields and faults vary from one operation to the next."""
LONG = "a," * 15_000


@dataclass(frozen=True)
class Hostile:
    method: str
    path: str
    content: bytes
    kind: str | None
    """The content type."""


@dataclass(frozen=True)
class Operation:
    name: str
    requests: list[Hostile]


class Maker:
    """`ids` stand for the parameters of paths, and for fields of their name."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self._ids = ids
        self._turn = 0
        self._huge = cycle(HUGE.values())

    def operations(self, prefix: str, document: Mapping[str, Any]) -> Iterator[Operation]:
        schemas = document.get("components", {}).get("schemas", {})
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                whole = prefix + path.format(**{name: self._ids.get(name, "x") for name in _names(path)})
                requests = list(self._requests(method.upper(), whole, described, schemas))
                if "{" in path:
                    odd = prefix + path.format(**dict.fromkeys(_names(path), "x" * 20_000))
                    requests.append(Hostile(method.upper(), odd, b"", None))
                yield Operation(f"{method.upper()} {prefix}{path}", requests)

    def _requests(
        self, method: str, path: str, described: Mapping[str, Any], schemas: Mapping[str, Any]
    ) -> Iterator[Hostile]:
        names = [one["name"] for one in described.get("parameters", ()) if one["in"] == "query"]
        for name in names[:3]:
            yield Hostile(method, f"{path}?{name}={LONG}", b"", None)
        yield Hostile(method, f"{path}?{MANY}", b"", None)
        kinds = described.get("requestBody", {}).get("content", {})
        if "application/json" in kinds:
            schema = kinds["application/json"].get("schema", {})
            for body in self._bodies(schema, schemas):
                yield Hostile(method, path, body, "application/json")
        if "multipart/form-data" in kinds:
            for body in (FIELDS, NAMED, HEADED):
                yield Hostile(method, path, body, FORM)

    def _bodies(self, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[bytes]:
        properties, required = _object(schema, schemas)
        good = {name: self._good(name, properties.get(name, {}), schemas) for name in required}
        every = [*properties, "metadata"]
        self._turn += 1
        for name in [every[(self._turn + step) % len(every)] for step in range(min(BODIES_MAX, len(every)))]:
            fields = {**good, name: None}
            written = [
                json.dumps(one).encode() + b": " + (next(self._huge) if one == name else json.dumps(value).encode())
                for one, value in fields.items()
            ]
            yield b"{" + b", ".join(written) + b"}"

    def _good(self, name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
        if name in self._ids:
            return self._ids[name]
        schema = _resolved(schema, schemas)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._good(name, schema[choice][0], schemas)
        if "enum" in schema or "const" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        match schema.get("type"):
            case "object":
                properties, required = _object(schema, schemas)
                return {one: self._good(one, properties.get(one, {}), schemas) for one in required}
            case "array":
                return [self._good("", schema.get("items", {}), schemas)] if schema.get("minItems") else []
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case _:
                return "https://example.com/" if "url" in name else "x"


def _names(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _object(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The properties of an object, of all its alternatives, and what is required."""
    schema = _resolved(schema, schemas)
    properties = dict(schema.get("properties", {}))
    for choice in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(choice, ()):
            properties |= _object(one, schemas)[0]
    return properties, list(schema.get("required", ()))

"""The calls of clients/cases/calls.yaml, compared with the server's OpenAPI document."""

import re
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any, Final, get_args, get_type_hints

import jsonschema_rs
import yaml

from stoa_client import events, types
from stoa_client.records import Record
from tests.support.client_cases import CASES

ID: Final = "0b54a6d2-0000-4000-8000-000000000003"
HEADERS_OF_HTTP: Final = {"idempotency-key", "last-event-id"}
LEFT_OUT: Final = {
    "GET /v1/runs/{run_id}/stream": {"ticket"},  # for a browser's EventSource, which sends no header
    "GET /v1/files/{file_id}/content": {"ticket"},  # of a signed link
    "POST /v1/knowledgebases/{knowledgebase_id}/vector-search": {"group_by"},
    "POST /v1/documents/search": {"group_by"},
    # Fields that the compatible platform's own clients send.
    "POST /v1/knowledgebases": {"flow", "flow_ui", "runtime_id", "workflow_id", "workflow_version_id"},
    "PUT /v1/knowledgebases/{knowledgebase_id}": {"runtime_id", "workflow_version_id"},
}
"""Parameters and fields that the clients do not support."""


def calls() -> list[dict[str, Any]]:
    return yaml.load((CASES / "calls.yaml").read_text("utf-8"), yaml.CSafeLoader)["calls"]


@dataclass
class Sent:
    """A request of a client."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any
    form: list[str]


def form_fields(headers: dict[str, str], content: bytes) -> list[str]:
    head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + content).get_payload()
    assert isinstance(parts, list)
    return [str(part.get_param("name", header="content-disposition")) for part in parts]


class Document:
    """The OpenAPI document of the api host."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    def schema(self, of: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in of:
            of = self.raw["components"]["schemas"][of["$ref"].rpartition("/")[2]]
        return of

    def operation(self, request: str) -> dict[str, Any]:
        method, _, path = request.partition(" ")
        assert path in self.raw["paths"], f"the server has no route {path}"
        return self.raw["paths"][path][method.lower()]

    def check_request(self, call: dict[str, Any], sent: Sent) -> None:
        operation, name = self.operation(call["request"]), call["call"]
        method, _, template = call["request"].partition(" ")
        assert sent.method == method, name
        assert re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), sent.path), (name, sent.path)
        parameters = operation.get("parameters", [])
        wanted = {one["name"] for one in parameters if one["in"] == "query"} - LEFT_OUT.get(call["request"], set())
        assert {key for key, _ in sent.query} == wanted, (name, "the query's parameters")
        headers = {one["name"].lower() for one in parameters if one["in"] == "header"}
        assert ("idempotency-key" in sent.headers) == ("idempotency-key" in headers), (name, "Idempotency-Key")
        self._check_body(call, sent, operation.get("requestBody", {}).get("content", {}))

    def _check_body(self, call: dict[str, Any], sent: Sent, content: dict[str, Any]) -> None:
        if "multipart/form-data" in content:
            properties = self.schema(content["multipart/form-data"]["schema"])["properties"]
            assert set(sent.form) == set(properties), (call["call"], "the form's fields")
        elif "application/json" in content:
            schema = content["application/json"]["schema"]
            whole = {**schema, "components": self.raw["components"]}
            jsonschema_rs.validator_for(whole).validate(sent.body)
            if "oneOf" not in schema:
                known = set(self.schema(schema)["properties"]) - {"stream", "background"}
                known -= LEFT_OUT.get(call["request"], set())
                assert set(sent.body) - {"stream", "background"} == known, (call["call"], "the body's fields")
        else:
            assert sent.body is None, call["call"]

    def answer_schema(self, call: dict[str, Any]) -> tuple[type[Record], dict[str, Any]] | None:
        """The record type that a call returns, and the schema of the JSON that it is made from."""
        how, _, name = call["returns"].rpartition(" ")
        if name in ("stream", "bytes", "StoredEvent"):  # The events of the stream are compared one by one.
            return None
        responses = self.operation(call["request"])["responses"]
        found = next(
            self.schema(responses[status]["content"]["application/json"]["schema"])
            for status in ("202", "201", "200")
            if "application/json" in responses.get(status, {}).get("content", {})
        )
        schema = found if how == "whole" else self.schema(found["properties"]["data"])
        if how in ("page", "list"):
            schema = self.schema(schema["items"])
        if how == "page":
            self.check_record(types.Pagination, self.schema(found["properties"]["pagination"]))
        return getattr(types, name, None) or getattr(events, name), schema

    def check_events(self) -> None:
        """Every event in the document has a class here, with all of its fields."""
        mapping = self.raw["components"]["schemas"]["StreamEvent"]["discriminator"]["mapping"]
        assert set(events.TABLE) == set(mapping), set(events.TABLE) ^ set(mapping)
        for name, reference in mapping.items():
            data = self.schema(self.schema({"$ref": reference})["properties"]["data"])
            hints = get_type_hints(get_type_hints(events.TABLE[name])["data"])
            assert set(data["properties"]) <= set(hints), (name, set(data["properties"]) - set(hints))
            optional = {field for field, hint in hints.items() if type(None) in get_args(hint)}
            assert not optional & set(data["required"]), (name, optional & set(data["required"]))

    def check_record(self, record: type[Record], schema: dict[str, Any]) -> None:
        """Both have the same fields, and agree on which are optional; so do nested records."""
        hints = {name: hint for name, hint in get_type_hints(record).items() if name != "raw"}
        properties = schema["properties"]
        assert set(hints) == set(properties), (record.__name__, set(hints) ^ set(properties))
        optional = {name for name, hint in hints.items() if type(None) in get_args(hint)}
        required = set(schema.get("required", ()))
        free = {name for name in hints if hints[name] is Any}
        assert optional == set(properties) - required - free, (record.__name__, optional ^ (set(properties) - required))
        for name, hint in hints.items():
            for inner in records_in(hint):
                found = inner_schema(self, properties[name])
                if "properties" in found:
                    self.check_record(inner, found)


def records_in(hint: Any) -> list[type[Record]]:
    if isinstance(hint, type) and issubclass(hint, Record):
        return [hint]
    return [record for one in get_args(hint) for record in records_in(one)]


def inner_schema(document: Document, of: dict[str, Any]) -> dict[str, Any]:
    """The schema of the objects in a field: in a nullable, a list, or a map."""
    schema = document.schema(of)
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            schema = document.schema(one)
            break
    if "items" in schema:
        return document.schema(schema["items"])
    extra = schema.get("additionalProperties")
    return document.schema(extra) if isinstance(extra, dict) else schema

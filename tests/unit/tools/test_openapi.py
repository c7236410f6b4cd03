"""Tools out of OpenAPI documents: what an operation becomes, and documents that are wrong, hostile or only odd."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import orjson
import pytest
import yaml

from stoa.kernel.errors import BadRequest
from stoa.kernel.schemas import schema_problem, value_problem
from stoa.tools import openapi
from stoa.tools.rules import as_form, check_http
from stoa.tools.types import Imported, ImportRequest, Planned

PETS = """
openapi: 3.0.3
info: {title: Pets, version: "1"}
servers: [{url: "https://{region}.example.com/v1", variables: {region: {default: eu}}}]
security: [{token: []}]
paths:
  /pets:
    parameters:
      - {name: X-Trace, in: header, schema: {type: string}}
      - {name: limit, in: query, schema: {type: integer}}
    get:
      operationId: listPets
      summary: Lists pets.
      description: All of them.
      parameters:
        - {name: limit, in: query, description: How many., schema: {type: integer, minimum: 0, exclusiveMinimum: true}}
        - {name: "filter[kind]", in: query, style: deepObject, explode: true, schema: {type: object}}
        - {name: tags, in: query, explode: false, schema: {type: array, items: {type: string}}}
        - {name: where, in: query, content: {application/json: {schema: {type: object}}}}
        - {name: Authorization, in: header, required: true, schema: {type: string}}
    post:
      operationId: create pet!
      requestBody: {$ref: "#/components/requestBodies/Pet"}
  /pets/{pet-id}:
    parameters: [{$ref: "#/components/parameters/PetId"}]
    put:
      deprecated: true
      security: []
      requestBody:
        required: true
        content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {name: {type: string}}}}}
    delete: {operationId: removePet, security: [{basic: []}, {key: []}]}
    head: {}
  /pets/{pet-id}/photo:
    post:
      parameters: [{$ref: "#/components/parameters/PetId"}]
      requestBody: {required: true, content: {image/png: {schema: {type: string, format: binary}}}}
components:
  parameters:
    PetId: {name: pet-id, in: path, required: true, schema: {type: integer}}
  requestBodies:
    Pet: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
  schemas:
    Pet:
      type: object
      required: [id, name]
      xml: {name: pet}
      properties:
        id: {type: integer, readOnly: true}
        name: {type: string, nullable: true, enum: [a, b], example: a}
        born: {type: string, format: date, default: 2020-01-01}
        mother: {$ref: "#/components/schemas/Pet"}
        kind: {allOf: [{$ref: "#/components/schemas/Kind"}], description: What it is}
    Kind: {type: string, enum: [cat, dog]}
  securitySchemes:
    token: {type: http, scheme: bearer}
    basic: {type: http, scheme: basic}
    key: {type: apiKey, in: query, name: api_key}
"""


def plan(document: Any, **fields: Any) -> Imported:
    defaults: dict[str, Any] = {
        "document": None,
        "url": None,
        "operations": None,
        "base_url": None,
        "prefix": "",
        "headers": {},
        "query": {},
        "secrets": {},
        "ca_bundle": None,
        "approval": False,
        "timeout_seconds": 30.0,
        "output_bytes_max": 1_000,
        "replace": False,
    }
    found = openapi.plan(document, ImportRequest(**{**defaults, **fields}))
    for one in found.tools:
        check_http(one.new.config, frozenset(one.new.secrets or ()))
    return found


def by_name(found: Imported) -> dict[str, Planned]:
    return {one.new.name: one for one in found.tools}


def test_what_operations_become() -> None:
    found = plan(PETS, secrets={"token": "x"})
    tools = by_name(found)
    assert list(tools) == ["listPets", "create_pet", "put_pets_pet-id", "removePet"]
    assert found.skipped == [
        ("HEAD /pets/{pet-id}", "HEAD is no method that a tool can have"),
        ("POST /pets/{pet-id}/photo", "its body must be image/png, and tools send JSON, forms and text"),
    ]
    assert [one.new.idempotent for one in found.tools] == [True, False, True, True]
    listing = tools["listPets"].new
    assert (listing.description, listing.config["url"], listing.config["method"]) == (
        "Lists pets.\n\nAll of them.",
        "https://eu.example.com/v1/pets",
        "GET",
    )
    assert listing.config["headers"] == {"Authorization": "Bearer {{secret.token}}"}
    properties = listing.config["parameters"]["properties"]
    assert properties["limit"] == {"type": "integer", "exclusiveMinimum": 0, "description": "How many."}
    odd = next(name for name in properties if name.startswith("filter"))
    assert listing.config["places"] == {
        "X-Trace": {"in": "header"},
        "limit": {"in": "query"},
        odd: {"in": "query", "name": "filter[kind]", "encoding": "deep"},
        "tags": {"in": "query", "encoding": "comma"},
        "where": {"in": "query", "encoding": "json"},
    }
    assert "required" not in listing.config["parameters"]
    body = tools["create_pet"].new.config
    pet = body["parameters"]["properties"]["body"]
    assert (pet["required"], "id" in pet["properties"], "xml" in pet) == (["name"], False, False)
    assert pet["properties"]["name"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert pet["properties"]["born"]["default"] == "2020-01-01"
    assert pet["properties"]["kind"] == {
        "allOf": [{"type": "string", "enum": ["cat", "dog"]}],
        "description": "What it is",
    }
    assert pet["properties"]["mother"] == {"$ref": "#/$defs/components_schemas_Pet"}
    assert (
        value_problem({"body": {"name": "a", "mother": {"name": "b", "mother": {"name": "a"}}}}, body["parameters"])
        is None
    )
    assert (
        value_problem({"body": {"name": "a", "mother": {"name": "b", "mother": {"name": 5}}}}, body["parameters"])
        is not None
    )
    put = tools["put_pets_pet-id"].new
    assert (put.config["url"], put.config["places"]["body"]) == (
        "https://eu.example.com/v1/pets/{pet_id}",
        {"in": "body", "encoding": "form"},
    )
    assert (put.description, put.config["headers"]) == ("(deprecated) PUT /pets/{pet-id}", {})
    assert put.config["parameters"]["required"] == ["pet_id", "body"]
    assert tools["removePet"].notes == ("The service wants basic or key: send headers, or secrets of these names.",)
    assert all(schema_problem(one.new.config["parameters"]) is None for one in found.tools)
    assert orjson.dumps([one.new.config for one in found.tools])


def test_choices_of_the_caller() -> None:
    assert [
        one.new.name for one in plan(PETS, operations=["listPets", "PUT /pets/{pet-id}"], prefix="pets_").tools
    ] == ["pets_listPets", "pets_put_pets_pet-id"]
    removing = by_name(plan(PETS, operations=["removePet"], secrets={"key": "k"}))["removePet"].new.config
    assert (removing["query"], removing["headers"]) == ({"api_key": "{{secret.key}}"}, {})
    basic = by_name(plan(PETS, operations=["removePet"], secrets={"basic": "k"}))["removePet"].new.config
    assert basic["headers"] == {"Authorization": "Basic {{secret.basic}}"}
    own = by_name(
        plan(
            PETS,
            operations=["listPets"],
            headers={"X-Key": "{{secret.k}}"},
            secrets={"k": "v"},
            base_url="http://localhost:1/",
        )
    )["listPets"]
    assert (own.new.config["headers"], own.new.config["url"], own.notes) == (
        {"X-Key": "{{secret.k}}"},
        "http://localhost:1/pets",
        (),
    )
    relative = {"openapi": "3.1.0", "servers": [{"url": "../v2"}], "paths": {"/a": {"get": {}}}}
    assert (
        plan(relative, url="https://example.com/docs/openapi.json").tools[0].new.config["url"]
        == "https://example.com/v2/a"
    )
    assert plan(orjson.dumps(yaml.safe_load(PETS), default=str).decode()).tools, "JSON as text"


def refused(document: Any, **fields: Any) -> dict[str, str]:
    with pytest.raises(BadRequest) as caught:
        plan(document, **fields)
    assert caught.value.details
    return caught.value.details


def get(**operation: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "servers": [{"url": "https://example.com"}], "paths": {"/a": {"get": operation}}}


HEAD = "openapi: 3.1.0\nservers: [{url: https://example.com}]\n"
BILLIONS = {
    f"S{number}": {"properties": {name: {"$ref": f"#/components/schemas/S{number + 1}"} for name in "abcdefghij"}}
    for number in range(20)
}
DEEP: dict[str, Any] = {}
for _ in range(500):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("document", "named", "said"),
    [
        ({"swagger": "2.0"}, "document", "not Swagger 2.0"),
        ({}, "document", "without the field openapi"),
        ("openapi: [", "document", "neither JSON nor YAML"),
        ("{nothing", "document", "is no JSON"),
        ("- 1", "document", "must be an object"),
        ({"openapi": "3.1.0"}, "document", "has no operations"),
    ],
)
def test_documents_that_cannot_be(document: Any, named: str, said: str) -> None:
    details = refused(document)
    assert named in details, details
    assert said in next(iter(details.values())), details


@pytest.mark.parametrize(
    ("document", "named", "said"),
    [
        ({"openapi": "3.1.0", "paths": {"/a": {"get": {}}}}, "servers", "send base_url"),
        (get(parameters=[{"in": "query"}]), "parameters[0].name", "Field required"),
        (get(parameters=[{"name": "x", "in": "body"}]), "parameters[0].in", "Input should be"),
        (
            get(parameters=[{"$ref": "#/components/parameters/X"}]),
            "parameters[0]",
            "which the document does not have",
        ),
        (get(parameters=[{"$ref": "https://evil.example/x"}]), "parameters[0]", "only local references"),
        (
            get(parameters=[{"name": "x", "in": "query", "schema": {"$ref": "other.json#/x"}}]),
            "parameters[0].schema",
            "only local references",
        ),
        (
            get(parameters=[{"name": "x", "in": "query", "schema": {"properties": {"y": 5}}}]),
            "parameters[0].schema.properties.y",
            "must be a schema",
        ),
        (get(parameters=[{"name": "x", "in": "query", "schema": DEEP}]), "", "nested too deeply"),
        (
            {
                **get(parameters=[{"name": "x", "in": "query", "schema": {"$ref": "#/components/schemas/S0"}}]),
                "components": {"schemas": BILLIONS},
            },
            "",
            "which the document does not have",
        ),
        ({**get(), "paths": {"/a/{id}": {"get": {}}}}, "parameters", "do not describe {id}"),
        ({**get(), "paths": {"/a": {"$ref": "#/paths/~1a"}}}, "paths./a", "refers to itself"),
        (
            f"{HEAD}paths: {{/a: {{get: {{parameters: [{{name: x, in: query, schema: &a {{items: *a}}}}]}}}}}}",
            "",
            "nested too deeply",
        ),
    ],
)
def test_an_operation_that_cannot_be_a_tool_is_skipped(document: Any, named: str, said: str) -> None:
    if isinstance(document, dict) and document.get("servers"):
        good = {"get": {"operationId": "good"}}
        document = {**document, "paths": {**document["paths"], "/good": good}}
        assert [one.new.name for one in plan(document).tools] == ["good"]
    [(operation, reason)] = plan(document).skipped
    assert "/a" in operation
    assert reason.startswith(named), reason
    assert said in reason


def test_a_thousand_odd_operations_lose_nothing_silently() -> None:
    """Every kind of oddity that public documents have, many times over: each operation is a tool, or is named with its
    reason."""
    schemas = {
        f"A B{number}": {"type": "object", "properties": {"x": {"$ref": f"#/components/schemas/A%20B{number + 1}"}}}
        for number in range(8)
    }
    oddities: list[dict[str, Any]] = [
        {},
        {"operationId": "same"},
        {"operationId": "with spaces / and ünïcode " * 10, "description": "d" * 10_000, "deprecated": True},
        {"parameters": [{"name": "q", "in": "query", "schema": {"$ref": "#/components/schemas/A%20B0"}}]},
        {"parameters": [{"name": "bad", "in": "nowhere"}]},
        {"parameters": [{"name": "x", "in": "cookie", "required": True}]},
        {"requestBody": {"required": True, "content": {"multipart/form-data": {}}}},
        {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}},
        {"parameters": [{"$ref": "shared.yaml#/limit"}]},
        {"parameters": [{"name": "d", "in": "query", "schema": DEEP}]},
        {"parameters": [{"name": "d", "in": "query", "schema": {"default": DEEP}}]},
        {"parameters": {"name": "no list"}},
        {
            "security": [{"oauth": []}],
            "servers": [{"url": "https://{region}.example.com", "variables": {"region": {}}}],
        },
        {"summary": 5, "tags": None, "responses": []},
    ]
    paths: dict[str, Any] = {}
    for number in range(1_400):
        method = ("get", "post", "put", "patch", "delete")[number % 5]
        paths[f"/things/{number}"] = {method: oddities[number % len(oddities)]}
    paths["/broken"], paths["no-slash"], paths["x-internal"] = "no item", {"get": {}}, {"get": {}}
    document = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://example.com"}],
        "paths": paths,
        "components": {
            "schemas": {
                **schemas,
                "A B8": {"type": "string"},
                "Tree": {
                    "type": "object",
                    "properties": {"children": {"items": {"$ref": "#/components/schemas/Tree"}}},
                },
            }
        },
    }
    begun = perf_counter()
    made = plan(document)
    assert perf_counter() - begun < 10
    assert len(made.tools) + len(made.skipped) == 1_402
    assert len(made.tools) >= 600
    assert len({one.new.name for one in made.tools}) == len(made.tools)
    assert all(reason for _, reason in made.skipped)


def test_choices_that_cannot_be() -> None:
    assert "noSuch" in refused(PETS, operations=["noSuch"])["operations"]
    many = {**get(), "paths": {f"/{number}": {"get": {}} for number in range(3_001)}}
    assert "more than 3000" in refused(many)["operations"]
    assert "base_url" in refused(get(), base_url="no address")


def test_two_operations_of_one_name_are_two_tools() -> None:
    twice = {**get(operationId="x"), "paths": {"/a": {"get": {"operationId": "x"}, "post": {"operationId": "x!"}}}}
    first, second = plan(twice).tools
    assert first.new.name == "x"
    assert second.new.name.startswith("x_")
    assert "GET /a is named x already" in second.notes[0]
    assert [one.new.name for one in plan(twice).tools] == [first.new.name, second.new.name]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from nodes(one, (*path, key))


JUNK = (
    None,
    5,
    "x",
    "\0\ud800",
    [],
    [[]],
    {},
    {"$ref": "#"},
    {"$ref": 5},
    {"$ref": "#/components"},
    True,
    [None, {"name": "n", "in": "query"}],
)


def test_whatever_is_wrong_is_a_refusal() -> None:
    """Every node of a document replaced by rubbish, of one kind after the other."""
    whole = orjson.dumps(yaml.safe_load(PETS))
    tried = worked = 0
    for number, path in enumerate(nodes(orjson.loads(whole))):
        for junk in (JUNK[number % len(JUNK)],)[: len(path)]:
            document = parent = orjson.loads(whole)
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = junk
            tried += 1
            try:
                orjson.dumps([one.new.config for one in plan(document, secrets={"token": "x", "key": "y"}).tools])
                worked += 1
            except BadRequest:
                continue
    assert 0 < worked < tried


def test_yaml_is_read_as_openapi_prescribes() -> None:
    """YAML 1.1, which the library reads, makes truth values, dates and numbers of these."""
    document = f"""{HEAD}paths:
  /a:
    get:
      operationId: no
      parameters:
        - {{name: on, in: query, schema: {{enum: [on, off, yes, 2020-01-01, 012, 1_000, 12:30:45, true, 7, 1.5, ~]}}}}
"""
    [made] = plan(document).tools
    assert made.new.name == "no"
    assert made.new.config["parameters"]["properties"] == {
        "on": {"enum": ["on", "off", "yes", "2020-01-01", "012", "1_000", "12:30:45", True, 7, 1.5, None]}
    }


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        ({"parameters": None, "requestBody": None, "security": None}, {}),
        ({"parameters": [{"name": "q", "in": "query", "schema": None, "required": None, "description": 5}]}, {"q": {}}),
        (
            {"parameters": [{"name": "q", "in": "query", "schema": {"items": None, "properties": []}}]},
            {"q": {"items": {}, "properties": {}}},
        ),
        (
            {
                "parameters": [
                    {
                        "name": "q",
                        "in": "query",
                        "schema": {"$defs": {"I": {"type": "string"}}, "anyOf": [{"$ref": "#/$defs/I"}]},
                    }
                ]
            },
            {"q": {"anyOf": [{"type": "string"}]}},
        ),
        ({"parameters": [{"name": "ghost", "in": "path", "required": True}]}, {}),
        (
            {"requestBody": {"required": True, "content": {"application/json": None}}},
            {"body": {}},
        ),
    ],
)
def test_what_is_meant_is_read(operation: dict[str, Any], kept: dict[str, Any]) -> None:
    [made] = plan(get(**operation)).tools
    assert made.new.config["parameters"]["properties"] == kept


@pytest.mark.parametrize(
    ("servers", "url", "reason"),
    [
        ([{"url": "/"}, {"url": "https://second.example"}], "https://second.example/a", ""),
        ([{"url": ""}], None, "send base_url"),
        ([{"url": "https://{r}.example", "variables": {"r": {"enum": ["eu"]}}}], "https://eu.example/a", ""),
        ([{"url": "https://{r}.example"}], None, "no value for {r}"),
        ([{"url": "https://example.com:{p}", "variables": {"p": {"default": 8443}}}], "https://example.com:8443/a", ""),
        (["https://example.com"], None, "must be a list of objects"),
    ],
)
def test_the_address_is_the_first_usable_server(servers: Any, url: str | None, reason: str) -> None:
    made = plan({**get(), "servers": servers})
    assert [one.new.config["url"] for one in made.tools] == ([url] if url else [])
    assert url or reason in made.skipped[0][1]


def test_methods_are_read_in_any_case_and_none_is_lost() -> None:
    item = {"GET": {"operationId": "a"}, "head": {}, "additionalOperations": {"COPY": {}}}
    made = plan({**get(), "paths": {"/a": item}})
    assert [one.new.name for one in made.tools] == ["a"]
    assert [title for title, _ in made.skipped] == ["HEAD /a", "COPY /a"]
    assert plan({**get(), "openapi": 3}).tools, "YAML authors forget the quotes"


def test_what_is_nested_in_a_form_keeps_its_name() -> None:
    assert as_form({"a": {"b": 1, "c": [{"d": True}, {"d": None}]}, "e": [1, 2], "f": None}) == [
        ("a[b]", "1"),
        ("a[c][0][d]", "true"),
        ("e", "1"),
        ("e", "2"),
    ]

"""The OpenAPI document: fit for generators, and true: schemathesis holds the server against it, with inputs nobody
thought of."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoa.events import NAMES
from stoa.http import Body
from stoa.streams.vocabulary import StreamEvent
from tests.conftest import FIRST_KEY, Running
from tests.support.apps import deployed
from tests.support.described import conformance

EXAMPLES_MAX = 3


async def document(server: Running, host: str) -> dict[str, Any]:
    root = server.url
    if host == "kb":
        root = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Described"}))["data"]["url"]
    if host == "app":
        root = (await deployed(server))["url"]
    if host in ("router", "collector"):
        root = f"{server.url}/{host}"
    return dict((await server.client.get(f"{root}/openapi.json")).json())


def operations(described: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.mark.parametrize("host", ["api", "kb", "app", "router", "collector"])
async def test_generators_can_use_it(shared_server: Running, host: str) -> None:
    """Short unique names; only statuses that are answered; an example for each JSON request, that the server's own
    model takes."""
    described = await document(shared_server, host)
    schemas = described["components"]["schemas"]
    ids = [operation["operationId"] for _, operation in operations(described)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{1,40}", one) for one in ids), ids
    assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z0-9]{1,40}", name)] == []
    assert len({name.lower() for name in schemas}) == len(schemas)
    text = orjson.dumps(described).decode()
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)
    assert "ValidationError" not in text
    untyped = {
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field in schema.get("required", ())
        if schema.get("additionalProperties") is not True  # Events: their bytes are as they were stored, with nulls.
        and not schema["properties"][field].keys() - {"title", "description"}
    }
    assert untyped == set(), "a field of any type may be None, and answers leave a None out: it is not required"
    for name, operation in operations(described):
        assert "404" in operation["responses"] or "{" not in name, name
        assert "422" not in operation["responses"] or host == "router", name  # What its callers know from elsewhere.
        body = operation.get("requestBody", {}).get("content", {})
        for form in (body[kind] for kind in body if kind == "multipart/form-data"):
            shape = form["schema"]
            shape = schemas[shape["$ref"].rsplit("/", 1)[1]] if "$ref" in shape else shape
            files = [one for one in shape["properties"] if one in ("file", "files")]
            assert files, name
            assert all('"format":"binary"' in orjson.dumps(shape["properties"][one]).decode() for one in files), name
        if "application/json" in body:
            assert body["application/json"].get("examples"), f"{name} has no example"
            assert {"400", "413", "415"} <= set(operation["responses"]) or host == "router", name


def objects_below(
    schema: Any, schemas: dict[str, Any], path: str, seen: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with fields that a body may hold, at any depth."""
    if isinstance(schema, list):
        for one in schema:
            yield from objects_below(one, schemas, path, seen)
    elif isinstance(schema, dict):
        if reference := schema.get("$ref", ""):
            if reference not in seen:
                seen.add(reference)
                yield from objects_below(schemas[reference.rsplit("/", 1)[1]], schemas, path, seen)
            return
        if "properties" in schema:
            yield path, schema
        for field, one in schema.get("properties", {}).items():
            yield from objects_below(one, schemas, f"{path}.{field}", seen)
        for keyword in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
            yield from objects_below(schema.get(keyword), schemas, path, seen)


@pytest.mark.parametrize("host", ["api", "kb", "app", "router", "collector"])
async def test_no_object_of_a_request_takes_a_field_that_it_does_not_know(shared_server: Running, host: str) -> None:
    """At any depth: a misspelt field would pass as if it had been left out."""
    described = await document(shared_server, host)
    schemas = described["components"]["schemas"]
    open_ones = []
    for name, operation in operations(described):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        for path, found in objects_below(body, schemas, "", set()):
            if found.get("additionalProperties") is not False:
                open_ones.append(f"{name} {path}")
    assert open_ones == []


async def test_the_events_of_a_stream_are_described(shared_server: Running) -> None:
    """One model for each event of the vocabulary, and each event that was ever recorded is one of them."""
    schemas = (await document(shared_server, "api"))["components"]["schemas"]
    assert set(schemas["StreamEvent"]["discriminator"]["mapping"]) == set(NAMES.values())
    seen = 0
    for golden in sorted((Path(__file__).parents[1] / "stream" / "golden").glob("*.sse")):
        for line in golden.read_text().splitlines():
            if line.startswith("data:"):
                StreamEvent.model_validate_json(line.removeprefix("data:"))
                seen += 1
    assert seen > 10


def test_every_example_is_taken_by_its_model() -> None:
    def below(model: type[Body]) -> Iterator[type[Body]]:
        for one in model.__subclasses__():
            yield one
            yield from below(one)

    with_example = [model for model in below(Body) if "example" in model.__dict__]
    assert len(with_example) > 20
    for model in with_example:
        model.model_validate(model.__dict__["example"])


# Made keys could revoke the one that this test speaks with, and made-up addresses could be somebody's: a test speaks to
# this machine alone. Every route of both is in the table of refusals; so are parts of imports, which it cannot make.
EXCLUDED = "access-keys|connections|/v1/tools|sources|imports/{import_id}/parts"


async def root_of(server: Running, host: str) -> str:
    if host == "api":
        return server.url
    return str((await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Documented"}))["data"]["url"])


@pytest.mark.timeout(480)
@pytest.mark.parametrize(("host", "cases_min"), [("api", 8_000), ("kb", 100)])
async def test_the_document_is_true(shared_server: Running, host: str, cases_min: int) -> None:
    """At the bounds of every parameter and field, and beyond them."""
    root = await root_of(shared_server, host)
    described = dict((await shared_server.client.get(f"{root}/openapi.json")).json())
    found = await conformance(root, f"Bearer {FIRST_KEY}", described, EXCLUDED)
    assert found.untrue == []
    assert found.answered > cases_min
    assert len(found.unanswered) < found.answered / 100, found.unanswered


@pytest.mark.timeout(240)
@pytest.mark.parametrize("host", ["api", "kb"])
async def test_the_document_is_true_of_any_input(shared_server: Running, tmp_path: Path, host: str) -> None:
    """In a process of its own: it is a synchronous client, and this process serves."""
    root = await root_of(shared_server, host)
    (
        await shared_server.client.get(f"{root}/openapi.json")
    ).raise_for_status()  # Made once; the program waits ten seconds.
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{root}/openapi.json",
        "--header",
        f"Authorization: Bearer {FIRST_KEY}",
        "--phases",
        "examples,fuzzing",
        "--max-examples",
        str(EXAMPLES_MAX),
        "--seed",
        "20261123",
        # One: in two threads, Python 3.11 fails to parse ("AST constructor recursion depth mismatch").
        "--workers",
        "1",
        "--request-timeout",
        "20",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--no-color",
        "--exclude-path-regex",
        EXCLUDED,
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(220):
        said, _ = await process.communicate()
    text = said.decode()
    # Its exit status also counts requests that a crowded machine let time out; what the document got wrong stands under
    # "Failures".
    assert "Failures:" not in text, text.partition("= FAILURES =")[2].partition("= WARNINGS =")[0][:8_000]
    assert process.returncode == 0 or re.search(r"Tested: [1-9]\d\d" if host == "api" else r"Tested: \d", text), text[
        -8_000:
    ]

"""No drift: every call of both clients against the OpenAPI document of a running server."""

import base64
import inspect
import json
import re
from contextlib import AbstractContextManager
from typing import Any, get_args

import httpx
import pytest

from stoa_client import Stoa, StoaError
from tests.conftest import Running
from tests.support.client_calls import ID, Document, Sent, calls, form_fields
from tests.support.client_results import KEY
from tests.support.javascript import node

RESOURCES = ("conversations", "runs", "knowledge_bases", "models", "traces", "usage", "keys")
NOT_ON_THE_WIRE = {"conversations.wait_for_receipt", "knowledge_bases.wait"}
"""They repeat a call that is tried."""
NAMED = [call["call"] for call in calls()]


@pytest.fixture(scope="module")
async def document(shared_server: Running) -> Document:
    return Document(await shared_server.document())


def arguments(call: dict[str, Any]) -> list[Any]:
    if call.get("positional") in (["upload"], ["uploads"]):
        file = ("a.txt", b"text")
        return [ID, file if call["positional"] == ["upload"] else [file]]
    return call.get("positional", [])


def python_sent(call: dict[str, Any]) -> Sent:
    """What the Python client sends. The answer fits no call: that it fails on it is the end of it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(418, json={"error": {"code": "seen", "message": "Seen."}})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        stoa = Stoa("http://stoa.test/base", KEY, http=http)
        resource, _, method = call["call"].partition(".")
        named = {call.get("python", {}).get(name, name): value for name, value in call.get("fields", {}).items()}
        with pytest.raises(StoaError, match=r"Seen\."):
            made = getattr(getattr(stoa, resource), method)(*arguments(call), **named)
            if isinstance(made, AbstractContextManager):
                made.__enter__()
    (request,) = seen
    headers = {name.lower(): text for name, text in request.headers.items()}
    return sent_of(request.method, request.url.raw_path.decode(), headers, request.content)


def sent_of(method: str, target: str, headers: dict[str, str], content: bytes) -> Sent:
    url = httpx.URL(f"http://stoa.test{target}")
    multipart = headers.get("content-type", "").startswith("multipart/")
    body = json.loads(content) if content and not multipart else None
    form = form_fields(headers, content) if multipart else []
    return Sent(method, url.path.removeprefix("/base"), url.params.multi_items(), headers, body, form)


@pytest.mark.parametrize("call", calls(), ids=NAMED)
async def test_what_python_sends_is_what_the_server_takes(document: Document, call: dict[str, Any]) -> None:
    document.check_request(call, python_sent(call))


@pytest.mark.parametrize("call", calls(), ids=NAMED)
async def test_what_comes_back_has_the_fields_of_the_records(document: Document, call: dict[str, Any]) -> None:
    if (found := document.answer_schema(call)) is not None:
        document.check_record(*found)


@pytest.mark.parametrize("call", calls(), ids=NAMED)
def test_every_argument_is_tried(call: dict[str, Any]) -> None:
    resource, _, method = call["call"].partition(".")
    stoa = Stoa("http://stoa.test", KEY)
    parameters = inspect.signature(getattr(getattr(stoa, resource), method)).parameters.values()
    named = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY} - {"idempotency_key"}
    named |= {
        name
        for one in parameters
        if one.kind is one.VAR_KEYWORD
        for name in get_args(one.annotation)[0].__annotations__
    }
    assert named == {call.get("python", {}).get(name, name) for name in call.get("fields", {})}


def test_every_method_is_tried() -> None:
    stoa = Stoa("http://stoa.test", KEY)
    methods = {
        f"{resource}.{name}"
        for resource in RESOURCES
        for name, _ in inspect.getmembers(getattr(stoa, resource), inspect.ismethod)
        if not name.startswith("_")
    }
    assert methods == set(NAMED) | NOT_ON_THE_WIRE


async def test_what_javascript_sends_is_what_the_server_takes(document: Document) -> None:
    told = [{**call, "upload": call.get("positional") in (["upload"], ["uploads"]), "id": ID} for call in calls()]
    for call, line in zip(calls(), node("run_calls.mjs", told), strict=True):
        said = json.loads(line)
        assert "url" in said, (call["call"], said)
        target = said["url"].removeprefix("http://stoa.test")
        document.check_request(call, sent_of(said["method"], target, said["headers"], base64.b64decode(said["body"])))


def test_javascript_has_no_other_methods() -> None:
    camel = {re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in set(NAMED) | NOT_ON_THE_WIRE}
    assert set(node("list_methods.mjs", None)) == camel


async def test_both_know_the_events_of_the_server(document: Document) -> None:
    document.check_events()


async def test_a_field_that_a_client_does_not_know_is_found(document: Document) -> None:
    call = next(call for call in calls() if call["call"] == "runs.get")
    found = document.answer_schema(call)
    assert found is not None
    record, schema = found
    more = {**schema, "properties": {**schema["properties"], "new_field": {"type": "string"}}}
    with pytest.raises(AssertionError, match="new_field"):
        document.check_record(record, more)

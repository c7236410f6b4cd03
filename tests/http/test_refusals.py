"""Every route, every kind of bad request: the documented status, the envelope, a sentence that names the field. Never a
500."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.conftest import Running
from tests.support.apps import deployed
from tests.support.routes import NOWHERE, ROUTES, Route
from tests.support.running import NO_AUTHORITIES

ROOT = Path(__file__).parents[2]
NEEDED = {
    "/v1/apps": f"project_id={NOWHERE}&",
    "/apps/APP/v1/requirements/status": "user_id=u&",
    "/v1/memories/ID/items": "user_id=u&",
    "/v1/memory-stores/ID/files": "user_id=u&",
    "/v1/memory-stores/ID/files/content": "user_id=u&path=a&",
}
"""Query parameters that a route cannot do without."""
APP = {"id": NOWHERE}
"""The app whose own host some routes are on."""
BASE = {"id": NOWHERE}
"""The knowledge base whose own host some routes are on; the fixture makes it."""


CONNECTING: dict[str, httpx.AsyncClient] = {}
"""The client that has a connect token; the fixture makes it."""


WITH_ID = [route for route in ROUTES if route.needs_id]
WITH_BODY = [route for route in ROUTES if route.body is not None]


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def url(route: Route, subject: str = NOWHERE) -> str:
    return route.path.replace("ID", subject).replace("BASE", BASE["id"]).replace("APP", APP["id"])


def options(route: Route) -> dict[str, object]:
    if route.upload:
        return {
            "files": {"files" if "/kb/" in route.path or "knowledgebases" in route.path else "file": ("a.txt", b"text")}
        }
    return {"json": route.body} if route.body is not None else {}


def client(shared: Running, route: Route) -> httpx.AsyncClient:
    """With the credential that the route takes."""
    return CONNECTING["client"] if route.path.startswith("/v1/connect/") else shared.client


def check(response: object, status: int, code: str | None = None) -> dict[str, object]:
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    error = response.json()["error"]
    assert code is None or error["code"] == code
    assert len(error["message"]) > 10
    assert response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return error


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_credentials(shared: Running, route: Route) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer stoa_acc_short"},
        {"Authorization": "Bearer stoa_acc_" + "x" * 64},
        {"Authorization": "Bearer stoa_pat_" + "x" * 64},
    ):
        check(
            await client(shared, route).request(route.method, url(route), headers=headers, **options(route)),
            401,
            "unauthorized",
        )


@pytest.mark.parametrize("route", WITH_ID, ids=name)
async def test_unknown_ids(shared: Running, route: Route) -> None:
    asked = f"{url(route)}?{NEEDED.get(route.path, '')}" if route.method == "GET" else url(route)
    check(await client(shared, route).request(route.method, asked, **options(route)), 404, "not_found")


@pytest.mark.parametrize("route", WITH_ID, ids=name)
async def test_ids_that_are_none(shared: Running, route: Route) -> None:
    for bad in ("1", "not-a-uuid", "%00", "../../etc/passwd", "'; DROP TABLE runs; --"):
        response = await client(shared, route).request(route.method, url(route, bad), **options(route))
        assert response.status_code in (400, 404, 405), response.text
        assert response.json()["error"]["message"]


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_bodies_that_are_none(shared: Running, route: Route) -> None:
    json_type = {"Content-Type": "application/json"}
    for content in (b"", b"{", b"nul", b"\xff\xfe", b'{"a":' * 5_000, b"[]", b'"text"', b"123", b"null", b'{"a":NaN'):
        error = check(
            await client(shared, route).request(route.method, url(route), content=content, headers=json_type),
            400,
            "bad_request",
        )
        assert "body" in error["details"], error


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_bodies_of_another_kind(shared: Running, route: Route) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        error = check(
            await client(shared, route).request(
                route.method, url(route), content=orjson.dumps(route.body), headers={"Content-Type": kind}
            ),
            415,
            "unsupported_media_type",
        )
        assert kind in error["message"]


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_fields_of_the_wrong_type(shared: Running, route: Route) -> None:
    assert isinstance(route.body, dict)
    for field in route.body:
        for wrong in ([[]], 12.5, ""):
            body = {**route.body, field: wrong}
            response = await client(shared, route).request(route.method, url(route), json=body)
            error = check(response, 400, "bad_request")
            assert any(
                re.match(rf"{field}\b|{field}\W", path) or path in ("model_id", "app_id", "body")
                for path in error["details"]
            ), error


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_hostile_text(shared: Running, route: Route) -> None:
    assert isinstance(route.body, dict)
    for field, value in route.body.items():
        if isinstance(value, str):
            for hostile in ("nul \x00 byte", " \t\n ", "x" * 400_000 if field != "content" else " "):
                check(
                    await client(shared, route).request(route.method, url(route), json={**route.body, field: hostile}),
                    400,
                    "bad_request",
                )


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_unknown_fields_are_refused(shared: Running, route: Route) -> None:
    assert isinstance(route.body, dict)
    body = {**route.body, "no_such_field": {"deep": [1]}}
    error = check(await client(shared, route).request(route.method, url(route), json=body), 400, "bad_request")
    assert "is no field" in error["details"]["no_such_field"], error


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_a_misspelt_field_is_answered_with_the_right_one(shared: Running, route: Route) -> None:
    assert isinstance(route.body, dict)
    field = next(iter(route.body))
    misspelt = f"{field[:-1]}{field[-1] * 2}"
    error = check(await client(shared, route).request(route.method, url(route), json={**route.body, misspelt: 1}), 400)
    assert f"did you mean {field}?" in error["details"][misspelt], error


@pytest.mark.parametrize(
    ("path", "body", "field", "right"),
    [
        ("/v1/conversations", {"agent": {"instruction": "x"}}, "agent.instruction", "instructions"),
        ("/v1/conversations", {"agent": {"limits": {"token_max": 1}}}, "agent.limits.token_max", "tokens_max"),
        (
            "/v1/conversations",
            {"agent": {"subagents": [{"name": "a", "description": "d", "tool": []}]}},
            "agent.subagents[0].tool",
            "tools",
        ),
        (
            "/v1/tools",
            {"name": "t", "type": "http", "description": "d", "config": {"url": "https://example.com/", "header": {}}},
            "config.header",
            "headers",
        ),
        (
            "/v1/tools",
            {"name": "t", "type": "mcp", "description": "d", "config": {"urls": "https://example.com/"}},
            "config.urls",
            "url",
        ),
        ("/v1/knowledgebases", {"name": "k", "retriever": {"topk": 3}}, "retriever.topk", "top_k"),
        ("/v1/connections", {"name": "c", "type": "openai", "config": {"apikey": "x"}}, "config.apikey", "api_key"),
        (
            "/v1/access-keys",
            {"name": "k", "spending_limit": {"usd": 1, "perriod": "day"}},
            "spending_limit.perriod",
            "period",
        ),
    ],
)
async def test_a_misspelt_field_is_named_where_it_stands(
    shared: Running, path: str, body: dict[str, object], field: str, right: str
) -> None:
    error = check(await shared.client.post(path, json=body), 400)
    assert f"did you mean {right}?" in error["details"].get(field, ""), error


async def test_a_misspelt_part_of_a_message_is_named(shared: Running) -> None:
    content = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Hi", "txt": 1}]
    error = check(
        await shared.client.post(
            f"/v3/conversations/{await shared.conversation()}/messages", json={"content": content}
        ),
        400,
    )
    assert "did you mean text?" in error["details"]["content[1].txt"], error


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=name)
async def test_query_parameters(shared: Running, route: Route) -> None:
    """A misspelt filter would answer with everything. What the platform's clients send everywhere must not fail."""
    error = check(await client(shared, route).get(f"{url(route)}?no_such_filter=1&page_sise=3"), 400, "bad_request")
    assert set(error["details"]) == {"no_such_filter", "page_sise"}
    sent = f"{NEEDED.get(route.path, '')}include_archived=true&include_system=true&include_official=true&type=a&type=b"
    response = await client(shared, route).get(f"{url(route)}?{sent}")
    assert response.status_code in (200, 404), response.text


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name)
async def test_query_parameters_of_writing(shared: Running, route: Route) -> None:
    """A misspelt `dry_run` would write."""
    response = await client(shared, route).request(route.method, f"{url(route)}?dry_rnu=true", **options(route))
    error = check(response, 400, "bad_request")
    assert "is no" in error["details"]["dry_rnu"], error


@pytest.mark.parametrize("route", [route for route in ROUTES if route.upload], ids=name)
async def test_fields_of_a_form_that_are_none(shared: Running, route: Route) -> None:
    """A misspelt `ids` would add another item instead of replacing one."""
    error = check(
        await shared.client.post(url(route), data={"idz": "[]"}, **options(route)),
        400,
        "bad_request",
    )
    assert "is no field of this form" in error["details"]["idz"], error


STORED = {
    "a number beyond 64 bits": (b"9223372036854775808", "k"),
    "a very long number": (b"1" * 400, "k"),
    "a negative number beyond 64 bits": (b"-9223372036854775809", "k"),
    "not a number": (b"NaN", "k"),
    "infinity": (b"-Infinity", "k"),
    "an overflow": (b"1e999", "k"),
    "half of a surrogate pair": (rb'"\ud800"', "k"),
    "the other half": (rb'"a\udfffb"', "k"),
    "a NUL": (rb'"\u0000"', "k"),
    "one deep inside": (rb'{"a": [1, {"b": "\u0000"}]}', "k.a[1].b"),
    "deep lists": (b"[" * 200 + b"]" * 200, "k"),
    "deep objects": (b'{"a":' * 200 + b"1" + b"}" * 200, "k"),
    "a key with a NUL": (rb'{"\u0000": 1}', "k"),
    "a long key": (b'{"%b": 1}' % (b"x" * 5_000), "k"),
}
HOLDERS = {
    "metadata of a conversation": (
        "POST",
        "/v1/conversations",
        b'{"model_id": "MODEL", "metadata": {"k": VALUE}}',
        "metadata",
    ),
    "an output schema": (
        "POST",
        "/v1/conversations",
        b'{"model_id": "MODEL", "agent": {"output_schema": {"k": VALUE}}}',
        "agent.output_schema",
    ),
    "parameters of a tool": (
        "POST",
        "/v1/tools",
        (
            b'{"name": "t", "type": "http", "description": "d", '
            b'"config": {"url": "https://example.com/", "parameters": {"k": VALUE}}}'
        ),
        "config.parameters",
    ),
    "an imported document": ("POST", "/v1/tools/import", b'{"document": {"k": VALUE}}', "document"),
    "arguments of a trial": ("POST", f"/v1/tools/{NOWHERE}/test", b'{"arguments": {"k": VALUE}}', "arguments"),
    "metadata of a source": (
        "POST",
        "/v1/knowledgebases/BASE/sources",
        b'{"name": "s", "provider": "website", "config": {"url": "https://example.com/"}, "metadata": {"k": VALUE}}',
        "metadata",
    ),
    "filters": ("POST", "/v1/knowledgebases/BASE/vector-search", b'{"query": "q", "filters": {"k": VALUE}}', "filters"),
    "filters of a host": (
        "POST",
        "/kb/BASE/v1/documents/search",
        b'{"query": "q", "filters": {"k": VALUE}}',
        "filters",
    ),
    "metadata of an item": ("PATCH", f"/v1/knowledgebase-items/{NOWHERE}", b'{"metadata": {"k": VALUE}}', "metadata"),
    "changed arguments": (
        "POST",
        f"/v1/runs/{NOWHERE}/input",
        b'{"type": "approval", "data": {"request_id": "%b", "approved": true, "params": {"k": VALUE}}}'
        % NOWHERE.encode(),
        "data.params",
    ),
}


@pytest.mark.parametrize("value", STORED)
@pytest.mark.parametrize("holder", HOLDERS)
async def test_what_cannot_be_stored_is_refused_where_it_stands(shared: Running, holder: str, value: str) -> None:
    method, path, template, within = HOLDERS[holder]
    raw, below = STORED[value]
    body = template.replace(b"VALUE", raw).replace(b"MODEL", (await shared.model_id()).encode())
    response = await shared.client.request(
        method, path.replace("BASE", BASE["id"]), content=body, headers={"Content-Type": "application/json"}
    )
    error = check(response, 400, "bad_request")
    assert any(field.startswith(f"{within}.{below}") for field in error["details"]), error


async def test_metadata_of_a_message_and_of_an_upload_likewise(shared: Running) -> None:
    conversation = await shared.conversation()
    for way in ({"Content-Type": "application/json"}, {"Content-Type": "application/json; charset=utf-8"}):
        for raw, below in STORED.values():
            body = b'{"content": "Hi", "metadata": {"k": %b}}' % raw
            sent = await shared.client.post(f"/v3/conversations/{conversation}/messages", content=body, headers=way)
            assert any(field.startswith(f"metadata.{below}") for field in check(sent, 400)["details"])
    for raw, below in STORED.values():
        sent = await shared.client.post(
            f"/v1/knowledgebases/{BASE['id']}/upload",
            files={"files": ("a.txt", b"text")},
            data={"input": b'{"metadata": [{"k": %b}]}' % raw},
        )
        assert any(field.startswith(f"input.metadata[0].{below}") for field in check(sent, 400)["details"]), sent.text


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_too_large(shared: Running, route: Route) -> None:
    body = b'{"title": "' + b"x" * (9 * 1024 * 1024) + b'"}'
    response = await client(shared, route).request(
        route.method, url(route), content=body, headers={"Content-Type": "application/json"}
    )
    check(response, 413, "too_large")


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page_size=0", "page_size=501", "page=99999999999999999999"]
)
@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method == "GET" and route.paged and not route.needs_id], ids=name
)
async def test_pages_out_of_range(shared: Running, route: Route, query: str) -> None:
    error = check(await client(shared, route).get(f"{url(route)}?{query}"), 400, "bad_request")
    assert query.split("=", maxsplit=1)[0] in error["details"]


@pytest.mark.parametrize(
    "path",
    ["/v1/conversations", "/v1/runs", "/v1/access-keys", "/v1/projects", "/v1/connections", "/v1/knowledgebases"],
)
async def test_unknown_sort_fields_name_the_allowed_ones(shared: Running, path: str) -> None:
    error = check(await shared.client.get(f"{path}?sort=-created_at,evil"), 400, "bad_request")
    assert "created_at" in error["details"]["sort"]
    assert (await shared.client.get(f"{path}?sort=-created_at")).status_code == 200


CONTENTS = [
    ("", "content[0].text"),
    ([], "content"),
    ([{"type": "text", "text": "  "}], "content[0].text"),
    ([{"type": "text"}], "content[0].text"),
    ([{"text": "no type"}], "content[0].type"),
    ([{"type": "video", "text": "x"}], "content[0].type"),
    ([{"type": "file"}], "content[0].file"),
    ([{"type": "text", "text": "a"}, {"type": "file", "file": {"id": "x"}}], "content[1].file.id"),
    ([{"type": "text", "text": "a"}, {"type": "file", "file": {"id": NOWHERE}}], "content[1].file.id"),
    ([{"type": "text", "text": "a"}] * 65, "content"),
]


@pytest.mark.parametrize(("content", "field"), CONTENTS)
async def test_message_contents(shared: Running, content: object, field: str) -> None:
    conversation_id = await shared.conversation()
    error = check(
        await shared.client.post(f"/v3/conversations/{conversation_id}/messages", json={"content": content}),
        400,
        "bad_request",
    )
    assert field in error["details"], error
    assert (await shared.call("GET", f"/v1/conversations/{conversation_id}"))["data"]["message_count"] == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"stream": True, "background": True}, "stream"),
        ({"on_busy": "shout"}, "on_busy"),
        ({"model_id": NOWHERE}, "model_id"),
        ({"model_id": "x"}, "model_id"),
        ({"subagents_enabled": "maybe"}, "subagents_enabled"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": "x" * 20_000}}, "metadata"),
    ],
)
async def test_message_fields(shared: Running, fields: dict[str, object], named: str) -> None:
    conversation_id = await shared.conversation()
    error = check(
        await shared.client.post(f"/v3/conversations/{conversation_id}/messages", json={"content": "Hi", **fields}), 400
    )
    assert named in error["details"], error


async def test_one_of_model_and_app(shared: Running) -> None:
    for body in ({}, {"model_id": NOWHERE, "app_id": NOWHERE}):
        error = check(await shared.client.post("/v1/conversations", json=body), 400)
        assert set(error["details"]) == {"model_id", "app_id"}
    assert (
        "model_id" in check(await shared.client.post("/v1/conversations", json={"model_id": NOWHERE}), 400)["details"]
    )
    assert "app_id" in check(await shared.client.post("/v1/conversations", json={"app_id": NOWHERE}), 400)["details"]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Starlette leaves a cut part's file to the collector.
async def test_uploads(shared: Running) -> None:
    path = f"/v1/conversations/{await shared.conversation()}/files"
    check(await shared.client.post(path, json={"file": "x"}), 415, "unsupported_media_type")
    assert "file" in check(await shared.client.post(path, files={"other": ("a.txt", b"x")}), 400)["details"]
    cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhalf of it'
    check(
        await shared.client.post(path, content=cut, headers={"Content-Type": "multipart/form-data; boundary=b"}),
        400,
        "bad_request",
    )
    check(
        await shared.client.post(path, content=b"x", headers={"Content-Type": "multipart/form-data"}),
        400,
        "bad_request",
    )
    assert (await shared.call("GET", path))["pagination"]["total_count"] == 0


async def test_cursors(shared: Running) -> None:
    run_id = (await shared.ask(await shared.conversation()))["id"]
    for query in (
        "after_sequence=0",
        "after_sequence=-1",
        "after_sequence=x",
        "after_sequence=999",
        "after_sequence=99999999999",
    ):
        check(await shared.client.get(f"/v1/runs/{run_id}/stream?{query}"), 400)
    for header in ("x", "-1", "99999999999", "1.5", "٣"):
        # A browser sends back what it was given: anything else is no event of this run, and the stream begins anew.
        response = await shared.client.get(f"/v1/runs/{run_id}/stream", headers={"Last-Event-ID": header.encode()})
        assert response.status_code == 200
        assert response.text.startswith("id: 1\n")


async def test_routes_and_methods_that_are_not_there(shared: Running) -> None:
    check(await shared.client.get("/v9/nothing"), 404, "not_found")
    check(await shared.client.request("DELETE", "/v1/runs"), 405, "method_not_allowed")
    check(await shared.client.get("/v1/runs", headers={"Host": "router.localhost"}), 404, "not_found")


@pytest.fixture(scope="module")
async def shared(shared_server: Running) -> AsyncIterator[Running]:
    BASE["id"] = (await shared_server.call("POST", "/v1/knowledgebases", 201, json={"name": "Refusals"}))["data"]["id"]
    APP["id"] = (await deployed(shared_server, name="Refusals"))["id"]
    made = await shared_server.call("POST", f"/apps/{APP['id']}/v1/connect/tokens", json={"user_id": "u"})
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with httpx.AsyncClient(
        verify=NO_AUTHORITIES, base_url=shared_server.url, headers=headers, timeout=30
    ) as connecting:
        CONNECTING["client"] = connecting
        yield shared_server


async def test_a_key_is_no_user(shared: Running) -> None:
    check(await shared.client.get("/v1/me"), 403, "forbidden")
    check(await shared.client.get("/v1/me", headers={"Authorization": ""}), 401, "unauthorized")


OPEN = {"/health", "/ready"}
"""Without a credential, for whoever asks whether the server lives."""
ELSEWHERE = {
    "GET /metrics": "tests/http/test_metrics.py",  # the operator's, with a token of its own
    "GET /v1/doctor": "tests/slice/doctor/test_doctor.py",  # no list, and asked for once at a time
    "GET /v1/agent-builder/nodes": "tests/http/test_workflows.py",  # no list, with a filter of its own
    "POST /v1/hooks/ID": "tests/http/test_triggers.py",  # the secret in its path is the credential
    "POST /v1/apps/ID/invoke": "tests/http/test_app_host.py",  # its body is any object
    "DELETE /apps/APP/v1/requirements/ID/connections": "tests/http/test_requirements.py",  # cannot do without a query
    "GET /v1/shared/ID": "tests/http/test_artifacts.py",  # the same
    "DELETE /v1/memories/ID/items": "tests/http/test_memory.py",  # the same
    "DELETE /v1/memory-stores/ID/files": "tests/http/test_memory.py",  # the same
    "GET /v1/me": "tests/http/test_refusals.py",  # refuses every key, below
    "POST /v1/invitations/accept": "tests/http/test_people.py",  # its body holds the credential
    "POST /v1/traces": "tests/http/test_traces.py",  # three wires
    "POST /collector/v1/traces": "tests/http/test_traces.py",
    "POST /router/v1/chat/completions": "tests/http/test_router.py",  # in the shape that OpenAI's clients read
    "POST /router/v1/embeddings": "tests/http/test_router.py",
    "POST /router/v1/chat/completions/resumable": "tests/http/test_dialects.py",
    "GET /router/v1/chat/completions/ID": "tests/http/test_dialects.py",
    "POST /router/v1/messages": "tests/http/test_messages.py",  # in the shape that Anthropic's clients read
    "POST /router/v1/messages/count_tokens": "tests/http/test_gateway_faults.py",  # the same
    "GET /router/v1/models": "tests/http/test_router.py",
    "GET /router/v1/models/ID": "tests/http/test_router.py",
    "POST /router/v1/responses/compact": "tests/http/test_responses_socket.py",  # as OpenAI's clients read it
    **dict.fromkeys(  # as OpenAI's clients read it
        (
            "POST /router/v1/responses",
            "GET /router/v1/responses/ID",
            "DELETE /router/v1/responses/ID",
            "POST /router/v1/responses/ID/cancel",
            "GET /router/v1/responses/ID/input_items",
            "POST /router/v1/conversations",
            "GET /router/v1/conversations/ID",
            "POST /router/v1/conversations/ID",
            "DELETE /router/v1/conversations/ID",
            "GET /router/v1/conversations/ID/items",
            "POST /router/v1/conversations/ID/items",
            "GET /router/v1/conversations/ID/items/ID",
        ),
        "tests/http/test_responses.py",
    ),
    **dict.fromkeys(  # bodies and refusals of other dialects
        (
            "POST /v1/agui/ID",
            "POST /v1/ui-messages/ID",
            "GET /v1/ui-messages/ID/ID/stream",
            "POST /v1/a2a/ID",
            "GET /v1/a2a/ID/.well-known/agent-card.json",
        ),
        "tests/http/test_dialects.py",
    ),
}
"""Routes that refuse in ways of their own, and where that is tried."""


async def test_every_route_is_in_the_table(shared: Running) -> None:
    """The table above is complete: what the document of any host names is tried with every kind of bad request."""
    documented: set[str] = set()
    for prefix, named in (
        ("", ""),
        (f"/kb/{BASE['id']}", "/kb/BASE"),
        (f"/apps/{APP['id']}", "/apps/APP"),
        ("/collector", "/collector"),
        ("/router", "/router"),
    ):
        document = await shared.document(prefix)
        for path, methods in document["paths"].items():
            if path not in OPEN:
                documented |= {f"{method.upper()} {named}{re.sub(r'{[^}]+}', 'ID', path)}" for method in methods}
    tried = {name(route) for route in ROUTES}
    assert documented - tried - ELSEWHERE.keys() == set(), "add these to ROUTES"
    assert (tried | ELSEWHERE.keys()) - documented == set(), "these are no routes"
    for route, file in ELSEWHERE.items():
        path = route.split()[1].removeprefix("/collector").removeprefix("/router").partition("/ID")[0]
        assert path in (ROOT / file).read_text("utf-8"), route

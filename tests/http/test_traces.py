"""The collector and the reading of traces, over HTTP."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel
from tests.support.running import NO_AUTHORITIES

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESOLVED = {"Host": "collector.localhost"}


async def project_key(running: Running, **fields: Any) -> dict[str, str]:
    project = (await running.call("GET", "/v1/projects"))["data"][0]["id"]
    made = await running.call("POST", "/v1/access-keys", 201, json={"name": "sdk", "project_id": project, **fields})
    return {"Authorization": f"Bearer {made['data']['key']}"}


def run(**fields: Any) -> dict[str, Any]:
    """As the platform's SDK 0.69 sends it: sixteen keys, absent ones null, times with an offset."""
    return {
        "id": str(uuid4()),
        "name": "Workflow",
        "type": "workflow",
        "trace_id": str(uuid4()),
        "source_id": str(uuid4()),
        "session_id": None,
        "start_time": START.isoformat(),
        "end_time": (START + timedelta(seconds=2)).isoformat(),
        "parent_run_id": None,
        "status": "succeeded",
        "input": {"q": "hi"},
        "output": {"content": "hello"},
        "metadata": {"workflow": {"id": "wf", "version": None}, "env": "dev"},
        "error": None,
        "executions": [],
        "tags": ["a"],
        **fields,
    }


@pytest.mark.parametrize("where", ["host", "mount", "api"])
async def test_runs_are_stored_on_every_address_of_the_collector(running: Running, where: str) -> None:
    key = await project_key(running)
    path = {"host": "/v1/traces", "mount": "/collector/v1/traces", "api": "/v1/traces"}[where]
    root = run()
    node = run(
        type="node",
        name="LLM",
        trace_id=root["trace_id"],
        parent_run_id=root["id"],
        metadata={
            "node": {"id": "llm", "model": "gpt-4o"},
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "total_tokens_cost_usd": 0.25},
        },
    )
    headers = {**key, **(RESOLVED if where == "host" else {})}
    assert await running.call("POST", path, json={"runs": [root, node]}, headers=headers) == {"message": "ok"}
    [listed] = (await running.call("GET", "/v1/traces?wire=sdk"))["data"]
    assert listed["id"] == root["trace_id"]
    assert (listed["name"], listed["status"], listed["duration_seconds"]) == ("Workflow", "succeeded", 2.0)
    assert (listed["prompt_tokens"], listed["completion_tokens"], listed["cost_usd"]) == (7, 5, 0.25)
    assert (listed["models"], listed["tags"], listed["run_count"]) == (["gpt-4o"], ["a"], 2)
    whole = (await running.call("GET", f"/v1/traces/{root['trace_id']}"))["data"]
    by_id = {span["id"]: span for span in whole["runs"]}
    assert by_id[node["id"]]["parent_run_id"] == root["id"]
    assert by_id[root["id"]]["input"] == {"q": "hi"}
    assert by_id[root["id"]]["metadata"] == root["metadata"]


async def test_a_run_that_is_sent_again_replaces_itself_and_a_finished_one_stays_finished(running: Running) -> None:
    key = await project_key(running)
    open_run = run(end_time=None, status=None)
    await running.call("POST", "/v1/traces", json={"runs": [open_run]}, headers=key)
    [listed] = (await running.call("GET", "/v1/traces?status=running&wire=sdk"))["data"]
    assert "status" not in listed
    done = {**open_run, "end_time": (START + timedelta(seconds=9)).isoformat(), "status": "failed", "error": {"m": 1}}
    other_root = run(trace_id=open_run["trace_id"], name="Second")
    await running.call("POST", "/v1/traces", json={"runs": [done, other_root]}, headers=key)
    await running.call("POST", "/v1/traces", json={"runs": [open_run]}, headers=key)  # Late, and out of order.
    [listed] = (await running.call("GET", "/v1/traces?wire=sdk"))["data"]
    assert (listed["status"], listed["root_count"], listed["run_count"]) == ("failed", 2, 2)
    assert listed["duration_seconds"] == 9.0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"name": " "}, "name"),
        ({"type": "span"}, "type"),
        ({"type": ["node"]}, "type"),
        ({"trace_id": "x" * 256}, "trace_id"),
        ({"source_id": None}, "source_id"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": None}, "start_time"),
        ({"end_time": "2026-02-30T00:00:00Z"}, "end_time"),
        ({"status": "done"}, "status"),
        ({"status": {"a": 1}}, "status"),
    ],
)
async def test_one_bad_run_costs_itself_alone(shared_server: Running, fields: dict[str, Any], field: str) -> None:
    key = await project_key(shared_server)
    good = run()
    answer = await shared_server.call("POST", "/v1/traces", json={"runs": [run(**fields), good, 7]}, headers=key)
    assert answer["message"] == "ok"
    assert [(one["index"], one["field"]) for one in answer["rejected"]] == [(0, field), (2, "")]
    assert (await shared_server.call("GET", f"/v1/traces/{good['trace_id']}"))["data"]["runs"][0]["id"] == good["id"]
    refused = await shared_server.call("POST", "/v1/traces", 400, json={"runs": [run(**fields)]}, headers=key)
    assert list(refused["error"]["details"]) == [f"runs[0].{field}"]


async def test_a_run_that_ends_before_it_begins_took_no_time(shared_server: Running) -> None:
    """Clocks are set back, and a run's two ends may be of two machines. What was sent is kept as it came."""
    key = await project_key(shared_server)
    sent = run(end_time=(START - timedelta(seconds=5)).isoformat())
    open_ = run(trace_id=sent["trace_id"], id=sent["id"], source_id=sent["source_id"], end_time=None, status=None)
    for one in (sent, open_):  # Its beginning is sent last.
        await shared_server.call("POST", "/v1/traces", json={"runs": [one]}, headers=key)
    [listed] = (await shared_server.call("GET", "/v1/traces", params={"source_id": sent["source_id"]}))["data"]
    assert (listed["status"], listed["duration_seconds"]) == ("succeeded", 0.0)
    [span] = (await shared_server.call("GET", f"/v1/traces/{sent['trace_id']}"))["data"]["runs"]
    assert span["end_time"] == span["start_time"]


async def test_one_value_that_is_no_json_costs_itself(shared_server: Running) -> None:
    """Python writes NaN, and half of a character stays where a text was cut."""
    key = await project_key(shared_server)
    first, second = run(input={"score": 0.5, "text": "cut", "whole": "\U0001f600"}), run()
    text = json.dumps({"runs": [first, second]})
    text = text.replace("0.5", "NaN").replace('"cut"', '"cut \\ud83d"')
    headers = {**key, "Content-Type": "application/json"}
    answered = await shared_server.client.post("/v1/traces", content=text.encode(), headers=headers)
    assert answered.json() == {"message": "ok"}
    [span] = (await shared_server.call("GET", f"/v1/traces/{first['trace_id']}"))["data"]["runs"]
    assert span["input"] == {"score": None, "text": "cut \ufffd", "whole": "\U0001f600"}
    await shared_server.call("GET", f"/v1/traces/{second['trace_id']}", headers=key)


async def test_what_the_database_cannot_hold_is_replaced_and_the_rest_kept(shared_server: Running) -> None:
    key = await project_key(shared_server)
    sent = run(name="a\0b", input={"nul": "x\0y", "escaped": "\\u0000", "big": 2**70}, tags=["t\0"])
    await shared_server.call("POST", "/v1/traces", json={"runs": [sent]}, headers=key)
    [span] = (await shared_server.call("GET", f"/v1/traces/{sent['trace_id']}"))["data"]["runs"]
    assert span["name"] == "a\ufffdb"
    assert span["input"]["nul"] == "x\ufffdy"
    assert span["input"]["escaped"] == "\\u0000"


async def test_who_may_send_and_read(shared_server: Running) -> None:
    body = {"runs": [run()]}
    await shared_server.call("POST", "/v1/traces", 401, json=body)  # The first key is organization-wide.
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=shared_server.url) as stranger:
        assert (await stranger.post("/v1/traces", json=body)).status_code == 401
    reader = await project_key(shared_server, permissions=["traces:read"])
    await shared_server.call("POST", "/v1/traces", 403, json=body, headers=reader)
    writer = await project_key(shared_server, permissions=["traces:write"])
    await shared_server.call("POST", "/v1/traces", json=body, headers=writer)
    await shared_server.call("GET", "/v1/traces", 403, headers=writer)


async def test_another_project_sees_nothing(shared_server: Running) -> None:
    key = await project_key(shared_server)
    sent = run()
    await shared_server.call("POST", "/v1/traces", json={"runs": [sent]}, headers=key)
    project = await shared_server.call("POST", "/v1/projects", 201, json={"name": "other"})
    made = await shared_server.call(
        "POST", "/v1/access-keys", 201, json={"name": "k", "project_id": project["data"]["id"]}
    )
    other = {"Authorization": f"Bearer {made['data']['key']}"}
    assert (await shared_server.call("GET", "/v1/traces", headers=other))["data"] == []
    await shared_server.call("GET", f"/v1/traces/{sent['trace_id']}", 404, headers=other)
    await shared_server.call("DELETE", f"/v1/traces/{sent['trace_id']}", 404, headers=other)
    await shared_server.call("POST", "/v1/traces", json={"runs": [sent]}, headers=other)  # The same ids, apart.
    await shared_server.call("DELETE", f"/v1/traces/{sent['trace_id']}", headers=other)
    assert (await shared_server.call("GET", f"/v1/traces/{sent['trace_id']}", headers=key))["data"]["runs"]


TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def otlp_json(**fields: Any) -> dict[str, Any]:
    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": "1772366400000000000",
        "endTimeUnixNano": "1772366401500000000",
        "attributes": [
            {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "11"}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 4}},
            {"key": "gen_ai.conversation.id", "value": {"stringValue": "conv-1"}},
            {"key": "gen_ai.input.messages", "value": {"arrayValue": {"values": [{"stringValue": "hi"}]}}},
        ],
        "status": {},
        **fields,
    }
    service = [{"key": "service.name", "value": {"stringValue": "shop"}}]
    return {
        "resourceSpans": [
            {"resource": {"attributes": service}, "scopeSpans": [{"scope": {"name": "l"}, "spans": [span]}]}
        ]
    }


async def test_otlp_as_json(running: Running) -> None:
    key = await project_key(running)
    assert await running.call("POST", "/v1/traces", json=otlp_json(), headers={**key, **RESOLVED}) == {}
    [listed] = (await running.call("GET", "/v1/traces?wire=otlp&session_id=conv-1&model=gpt-4o"))["data"]
    assert (listed["prompt_tokens"], listed["completion_tokens"], listed["source_id"]) == (11, 4, "shop")
    assert listed["duration_seconds"] == 1.5
    [span] = (await running.call("GET", f"/v1/traces/{TRACE}"))["data"]["runs"]
    assert span["input"] == ["hi"]
    assert span["attributes"]["gen_ai.usage.input_tokens"] == 11
    partly = otlp_json()
    partly["resourceSpans"][0]["scopeSpans"][0]["spans"].append({"traceId": "zz"})
    answer = await running.call("POST", "/v1/traces", json=partly, headers=key)
    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "traceId" in answer["partialSuccess"]["errorMessage"]


async def test_otlp_as_protobuf_also_compressed(running: Running) -> None:
    key = await project_key(running)
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(TRACE), bytes.fromhex(SPAN), "call"
    span.start_time_unix_nano, span.end_time_unix_nano = 1772366400000000000, 1772366401000000000
    span.status.code = 2
    attribute = span.attributes.add()
    attribute.key, attribute.value.int_value = "llm.token_count.prompt", 3
    headers = {**key, "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    packed = gzip.compress(request.SerializeToString())
    response = await running.client.post("/v1/traces", content=packed, headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 0
    [listed] = (await running.call("GET", "/v1/traces?status=failed&wire=otlp"))["data"]
    assert listed["prompt_tokens"] == 3
    refused = await running.client.post(
        "/v1/traces", content=b"\xff\xff", headers={**key, "Content-Type": "application/x-protobuf"}
    )
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/x-protobuf")
    assert refused.content[:2] == b"\x08\x03"
    assert b"ExportTraceServiceRequest" in refused.content


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"runs": {}}', {}, 400),
        (b'{"resourceSpans": 7}', {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b'{"runs": []}', mtime=0)[:-6], {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b" " * (64 * 1024 * 1024), mtime=0), {"Content-Encoding": "gzip"}, 413),
        (b"{}", {"Content-Encoding": "br"}, 415),
        (json.dumps({"runs": [1] * 5001}).encode(), {}, 413),
        (b'{"runs": ' + b"[" * 3000 + b"]" * 3000 + b"}", {}, 400),
    ],
)
async def test_what_cannot_be_read_is_refused(
    shared_server: Running, content: bytes, headers: dict[str, str], status: int
) -> None:
    key = await project_key(shared_server)
    sent = {**key, "Content-Type": "application/json", **headers}
    response = await shared_server.client.post("/v1/traces", content=content, headers=sent)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


def deflated(content: bytes, *, bare: bool) -> bytes:
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
    return pack.compress(content) + pack.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("deflate", partial(deflated, bare=False)),
        ("deflate", partial(deflated, bare=True)),
    ],
)
async def test_codings_of_a_body(shared_server: Running, coding: str, pack: Callable[[bytes], bytes]) -> None:
    """As they are written in the field, in a body that comes in chunks, without a length."""
    key = await project_key(shared_server)
    sent = run()
    packed = pack(json.dumps({"runs": [sent]}).encode())

    async def chunks() -> AsyncIterator[bytes]:
        size = len(packed) // 7 + 1
        for start in range(0, len(packed), size):
            yield packed[start : start + size]

    headers = {**key, "Content-Type": "application/json; charset=utf-8", "Content-Encoding": coding}
    answered = await shared_server.client.post("/v1/traces", content=chunks(), headers=headers)
    assert (answered.status_code, answered.json()) == (200, {"message": "ok"})
    await shared_server.call("GET", f"/v1/traces/{sent['trace_id']}", headers=key)


@pytest.mark.parametrize("path", ["/v1/traces", "/router/v1/chat/completions", "/router/v1/messages"])
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
async def test_a_coding_that_is_not_taken_says_which_is(shared_server: Running, path: str, coding: str) -> None:
    key = await project_key(shared_server)
    headers = {**key, "Content-Type": "application/json", "Content-Encoding": coding}
    answered = await shared_server.client.post(path, content=b"{}", headers=headers)
    assert answered.status_code == 415
    assert answered.headers["accept-encoding"] == ("gzip, deflate" if path == "/v1/traces" else "identity")


ODD: list[dict[str, Any]] = [
    {"kind": "SPAN_KIND_OF_TOMORROW"},
    {"kind": 99, "status": {"code": 7}},
    {"status": {"code": "STATUS_CODE_ODD"}, "flags": 257, "traceState": None},
    {"startTimeUnixNano": 1772366400000000000, "endTimeUnixNano": 1.7723664e18},
    {"endTimeUnixNano": "1772366300000000000"},
    {"attributes": {"gen_ai.request.model": "gpt-4o"}, "events": None, "links": {}},
    {"attributes": [{"key": "x"}, {"value": {}}, 7, {"key": "y", "value": {"doubleValue": "NaN"}}]},
    {"attributes": [{"key": "big", "value": {"intValue": "9223372036854775808"}}]},
    {"attributes": [{"key": "long", "value": {"stringValue": "x" * 1_000_000}}]},
    {"parentSpanId": "0" * 16},
    {"name": None, "events": [{"timeUnixNano": "x", "attributes": [{"key": "e", "value": None}]}]},
]


async def test_odd_spans_are_kept(shared_server: Running) -> None:
    """One that cannot be identified, and one that is there twice, cost themselves."""
    key = await project_key(shared_server)
    trace = uuid4().hex
    document = otlp_json(traceId=trace.upper())
    [resource] = document["resourceSpans"]
    [span] = resource["scopeSpans"][0]["spans"]
    odd = [{**span, **fields, "spanId": f"{number:016x}"} for number, fields in enumerate(ODD, 1)]
    no_resources = [{**resource, "resource": held} for held in ({}, None, {"attributes": None})]
    document["resourceSpans"] += [*no_resources, {}, {"scopeSpans": [{"spans": [*odd, {**span, "spanId": "0" * 16}]}]}]
    answered = await shared_server.call("POST", "/v1/traces", json=document, headers=key)
    assert answered["partialSuccess"]["rejectedSpans"] == "1"
    found = (await shared_server.call("GET", f"/v1/traces/{trace}", headers=key))["data"]["runs"]
    assert sorted(one["id"] for one in found) == sorted([SPAN, *(one["spanId"] for one in odd)])
    assert all(one["end_time"] >= one["start_time"] and one.get("parent_run_id") is None for one in found)


async def test_posts_of_one_trace_at_once_are_all_counted(running: Running) -> None:
    key = await project_key(running)
    root = run()
    spans = [run(type="node", trace_id=root["trace_id"], parent_run_id=root["id"]) for _ in range(40)]
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(running.call("POST", "/v1/traces", json={"runs": [root, span]}, headers=key) for span in spans)
        )
    [listed] = (await running.call("GET", "/v1/traces?wire=sdk"))["data"]
    assert (listed["run_count"], listed["root_count"]) == (41, 1)
    found = (await running.call("GET", "/v1/doctor"))["data"]
    assert {check["name"]: check["count"] for check in found["checks"]}["traces.sums"] == 0


async def test_runs_of_this_server_are_traces(running: Running) -> None:
    conversation = await running.conversation(user_id="ada")
    asked = await running.ask(conversation, "Hi")
    [listed] = (await running.call("GET", "/v1/traces?wire=stoa&user_id=ada"))["data"]
    assert (listed["id"], listed["conversation_id"], listed["status"]) == (asked["id"], conversation, "succeeded")
    root, call = (await running.call("GET", f"/v1/traces/{asked['id']}"))["data"]["runs"]
    assert (root["type"], call["parent_run_id"], call["type"]) == ("workflow", root["id"], "node")
    assert root["output"] == asked["output"]
    assert call["start_time"] <= call["end_time"]
    await running.call("DELETE", f"/v1/traces/{asked['id']}", 400)
    await running.call("DELETE", f"/v1/conversations/{conversation}")
    await running.call("GET", f"/v1/traces/{asked['id']}", 404)


async def test_pages_filters_and_deletion(running: Running) -> None:
    key = await project_key(running)
    runs = [
        run(name=f"Flow {n}", start_time=(START + timedelta(minutes=n)).isoformat(), end_time=None, status=None)
        for n in range(7)
    ]
    await running.call("POST", "/v1/traces", json={"runs": runs}, headers=key)
    page = await running.call("GET", "/v1/traces?page_size=3&page=2")
    assert [one["name"] for one in page["data"]] == ["Flow 3", "Flow 2", "Flow 1"]
    assert page["pagination"].pop("next_cursor")
    assert page["pagination"] == {"page": 2, "page_size": 3, "page_count": 3, "total_count": 7}
    since = (START + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    found = await running.call("GET", "/v1/traces", params={"started_at:gte": since})
    assert [one["name"] for one in found["data"]] == ["Flow 6", "Flow 5"]
    found = await running.call("GET", "/v1/traces", params={"name": "w 4"})
    assert [one["name"] for one in found["data"]] == ["Flow 4"]
    assert (await running.call("GET", "/v1/traces", params={"name": "%"}))["data"] == []
    await running.call("DELETE", f"/v1/traces/{runs[0]['trace_id']}")
    await running.call("DELETE", f"/v1/traces/{runs[0]['trace_id']}", 404)
    assert (await running.call("GET", "/v1/traces"))["pagination"]["total_count"] == 6


async def test_a_filter_that_an_index_serves_gives_what_the_whole_list_holds(running: Running) -> None:
    """Of what was sent and of the server's own runs; whatever the value looks like."""
    key = await project_key(running)
    sessions, users = [str(uuid4()), "no-uuid"], ["ada", "bob"]
    sent = [
        run(
            session_id=sessions[n % 2],
            user_id=users[n // 2 % 2],
            source_id=str(n % 3),
            status=("succeeded", "failed", "canceled", None)[n % 4],
            end_time=None if n % 4 == 3 else START.isoformat(),
            start_time=START.isoformat(),
        )
        for n in range(12)
    ]
    await running.call("POST", "/v1/traces", json={"runs": sent}, headers=key)
    await running.ask(await running.conversation(user_id="ada"), "Hi")
    whole = (await running.call("GET", "/v1/traces"))["data"]
    assert len(whole) == 13
    for field, values in {
        "session_id": [*sessions, str(uuid4())],
        "user_id": [*users, "x"],
        "source_id": ["0", str(uuid4())],
        "status": ["succeeded", "failed", "canceled", "running"],
    }.items():
        for value in values:
            wanted = [one["id"] for one in whole if (one.get(field) or "running") == value]
            found = (await running.call("GET", "/v1/traces", params={field: value}))["data"]
            assert [one["id"] for one in found] == wanted, (field, value)
            summed = await running.call("GET", "/v1/trace-aggregates", params={field: value, "group_by": "wire"})
            assert sum(group["traces"] for group in summed["data"]["groups"]) == len(wanted), (field, value)
    for status, count in {"completed": 1, "started": 0, "canceled": 0}.items():
        assert len((await running.call("GET", f"/v1/runs?status={status}"))["data"]) == count


async def test_expired_traces_are_removed(dsn: str, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), traces_retention_days=1e-9) as running:
        key = await project_key(running)
        await running.call("POST", "/v1/traces", json={"runs": [run()]}, headers=key)
    async with serving(dsn, tmp_path, ScriptedModel(), traces_retention_days=1e-9) as running, asyncio.timeout(20):
        while (await running.call("GET", "/v1/traces"))["data"]:
            await asyncio.sleep(0.05)


async def test_a_cursor_goes_on_and_no_trace_is_twice(shared_server: Running) -> None:
    key = await project_key(shared_server)
    session = str(uuid4())
    sent = [run(name=f"Page {n // 3}", session_id=session, start_time=START.isoformat()) for n in range(9)]
    await shared_server.call("POST", "/v1/traces", json={"runs": sent}, headers=key)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(5):
        query = {"session_id": session, "page_size": "2", **({"cursor": cursor} if cursor else {})}
        page = await shared_server.call("GET", "/v1/traces", params=query)
        found += [one["id"] for one in page["data"]]
        cursor = page["pagination"].get("next_cursor")
    assert cursor is None or len(found) == 9
    assert sorted(found) == sorted(one["trace_id"] for one in sent)
    await shared_server.call("GET", "/v1/traces", 400, params={"cursor": "nonsense"})
    await shared_server.call("GET", "/v1/traces", 400, params={"cursor": "WyIyMDI2IiwgMV0", "page": 2})


async def test_words_costs_and_durations_are_filters(shared_server: Running) -> None:
    key = await project_key(shared_server)
    session = str(uuid4())
    cheap = run(session_id=session, input={"q": 'the "harbour" at night'}, output="fog 100%")
    dear = run(session_id=session, metadata={"usage": {"total_tokens_cost_usd": 3.5}}, end_time=START.isoformat())
    await shared_server.call("POST", "/v1/traces", json={"runs": [cheap, dear]}, headers=key)

    async def ids(**query: object) -> list[str]:
        given = {"session_id": session, **{name: str(value) for name, value in query.items()}}
        return [one["id"] for one in (await shared_server.call("GET", "/v1/traces", params=given))["data"]]

    assert await ids(q='"harbour" fog') == [cheap["trace_id"]]
    assert await ids(q="100%") == [cheap["trace_id"]]
    assert await ids(q="harbour sun") == []
    assert await ids(cost_usd_min=1) == [dear["trace_id"]]
    assert await ids(cost_usd_max=1) == []
    assert await ids(seconds_max=1) == [dear["trace_id"]]
    assert await ids(seconds_min=1) == [cheap["trace_id"]]
    whole = (await shared_server.call("GET", "/v1/trace-aggregates", params={"session_id": session}))["data"]["groups"]
    assert [(one["traces"], one["cost_usd"], one["seconds"]["max"]) for one in whole] == [(2, 3.5, 2.0)]
    by_day = await shared_server.call(
        "GET", "/v1/trace-aggregates", params={"session_id": session, "group_by": ["day", "status"]}
    )
    assert [one["group"] for one in by_day["data"]["groups"]] == [{"day": "2026-03-01", "status": "succeeded"}]


async def test_tokens_by_model_and_day(shared_server: Running) -> None:
    key = await project_key(shared_server)
    session = str(uuid4())
    root = run(session_id=session)
    used = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens_cost_usd": 0.5}
    calls = [
        run(
            type="node", trace_id=root["trace_id"], parent_run_id=root["id"], session_id=session,
            metadata={"node": {"model": model}, "usage": used},
        )
        for model in ("a", "b", "b")
    ]  # fmt: skip
    await shared_server.call("POST", "/v1/traces", json={"runs": [root, *calls]}, headers=key)
    query = {"session_id": session, "group_by": ["model", "day"]}
    groups = (await shared_server.call("GET", "/v1/trace-aggregates", params=query))["data"]["groups"]
    assert {one["group"]["model"]: (one["traces"], one["total_tokens"], one["cost_usd"]) for one in groups} == {
        "a": (1, 7, 0.5),
        "b": (1, 14, 1.0),
    }


async def test_two_traces_side_by_side(shared_server: Running) -> None:
    key = await project_key(shared_server)

    def trace(answer: str, *names: str) -> list[dict[str, Any]]:
        root = run(output={"content": answer})
        times = [{"start_time": (START + timedelta(milliseconds=n + 1)).isoformat()} for n in range(len(names))]
        below = {"type": "node", "trace_id": root["trace_id"], "parent_run_id": root["id"]}
        return [root, *(run(name=name, **below, **time) for name, time in zip(names, times, strict=True))]

    left, right = trace("yes", "Search", "Answer"), trace("no", "Answer", "Check")
    await shared_server.call("POST", "/v1/traces", json={"runs": [*left, *right]}, headers=key)
    path = f"/v1/traces/{left[0]['trace_id']}/diff"
    found = (await shared_server.call("GET", path, params={"other": right[0]["trace_id"]}))["data"]["steps"]
    assert [(one["depth"], one["name"], one["change"]) for one in found] == [
        (0, "Workflow", "changed"),
        (1, "Search", "removed"),
        (1, "Answer", "same"),
        (1, "Check", "added"),
    ]
    assert found[0]["changed"] == ["output"]
    await shared_server.call("GET", path, 404, params={"other": "nothing"})


async def test_a_deletion_has_a_receipt(shared_server: Running) -> None:
    key = await project_key(shared_server)
    sent = run()
    await shared_server.call("POST", "/v1/traces", json={"runs": [sent]}, headers=key)
    deleted = await shared_server.call("DELETE", f"/v1/traces/{sent['trace_id']}")
    receipt = (await shared_server.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
    assert (receipt["kind"], receipt["stores"]["spans"]["rows"]) == ("trace", 1)
    assert receipt["stores"]["spans"]["bytes"] > 100
    assert receipt["verified_at"]


async def test_a_refusal_is_a_status_of_grpc_in_json_too(shared_server: Running) -> None:
    key = await project_key(shared_server)
    refused = await shared_server.call("POST", "/v1/traces", 400, json={"resourceSpans": 7}, headers=key)
    assert (refused["code"], refused["message"]) == (3, refused["error"]["message"])
    headers = {**RESOLVED, "Content-Type": "application/x-protobuf", "Authorization": "Bearer nothing"}
    response = await shared_server.client.post("/v1/traces", content=b"", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (401, "application/x-protobuf")
    assert response.content[:2] == b"\x08\x10"


async def tail_of(server: Running, path: str, until: str = "end", **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of a stream, up to the first of this name."""
    found: list[tuple[str, dict[str, Any]]] = []
    async with asyncio.timeout(30), server.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
                if name == until:
                    break
    return found


async def test_a_trace_is_followed_while_it_grows(shared_server: Running) -> None:
    key = await project_key(shared_server)
    root = run(end_time=None, status=None)
    await shared_server.call("POST", "/v1/traces", json={"runs": [root]}, headers=key)
    path = f"/v1/traces/{root['trace_id']}/stream"
    following = asyncio.create_task(tail_of(shared_server, path))
    node = run(type="node", name="Late", trace_id=root["trace_id"], parent_run_id=root["id"])
    done = {**root, "status": "succeeded", "end_time": node["end_time"]}
    await shared_server.call("POST", "/v1/traces", json={"runs": [node]}, headers=key)
    await shared_server.call("POST", "/v1/traces", json={"runs": [done]}, headers=key)
    events = await following
    assert events[-1][0] == "end"
    last = {data["id"]: data for name, data in events if name == "span"}
    assert last[node["id"]]["name"] == "Late"
    assert last[root["id"]]["status"] == "succeeded"
    await shared_server.call("GET", "/v1/traces/nothing/stream", 404)


async def test_a_run_of_this_server_is_followed_to_its_end(running: Running) -> None:
    conversation = await running.conversation()
    asked = await running.ask(conversation, "Hi")
    events = await tail_of(running, f"/v1/traces/{asked['id']}/stream")
    assert [name for name, _ in events] == ["span", "span", "end"]
    again = await tail_of(running, f"/v1/traces/{asked['id']}/stream", **{"Last-Event-ID": "1"})
    assert [name for name, _ in again] == ["span", "span", "end"], "both went on after the first event"
    last = events[0][1]["metadata"]["last_sequence"]
    over = await tail_of(running, f"/v1/traces/{asked['id']}/stream", **{"Last-Event-ID": str(last)})
    assert [name for name, _ in over] == ["end"], "nothing has gone on since"
    journal = await running.events(asked["id"])
    token = next(one for one in journal if one["type"] == "agent.response.delta")
    whole = await running.call("GET", f"/v1/traces/{asked['id']}", params={"sequence": token["sequence"]})
    root, call = whole["data"]["runs"]
    assert (root["id"], call["metadata"]["iteration"]) == (asked["id"], 1)
    assert call["metadata"]["first_sequence"] <= token["sequence"] <= call["metadata"]["last_sequence"]
    await running.call("GET", f"/v1/traces/{asked['id']}", 404, params={"sequence": 10_000})


async def test_what_the_released_tracing_client_has_sent(running: Running) -> None:
    """Two posts of dynamiq 0.69.0: the second repeats old runs, and a trace has two roots."""
    key = await project_key(running)
    posts = json.loads((Path(__file__).parents[1] / "data/traces/sdk-0.69.0.json").read_text("utf-8"))
    for post in [*posts, *posts]:
        assert await running.call("POST", "/v1/traces", json=post, headers=key) == {"message": "ok"}
    sent = {one["id"]: one for post in posts for one in post["runs"]}
    listed = (await running.call("GET", "/v1/traces?wire=sdk"))["data"]
    assert sum(one["run_count"] for one in listed) == len(sent)
    assert max(one["root_count"] for one in listed) == 2
    for one in listed:
        whole = (await running.call("GET", f"/v1/traces/{one['id']}"))["data"]["runs"]
        for span in whole:
            given = {name: value for name, value in sent[span["id"]].items() if value is not None}
            times = {"start_time", "end_time"}
            assert {name: span[name] for name in given if name not in times} == {
                name: value for name, value in given.items() if name not in times
            }
        used = [span["metadata"]["usage"] for span in whole if "usage" in span["metadata"]]
        assert one["total_tokens"] == sum(usage["total_tokens"] for usage in used)
    assert (await running.call("GET", "/v1/doctor"))["data"]["healthy"]


def hostile_protobuf(**fields: Any) -> bytes:
    request = ExportTraceServiceRequest()
    for number in range(2):
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id = bytes.fromhex(TRACE), bytes([number + 1] * 8)
        span.start_time_unix_nano = 1772366400000000000
        if number == 0:
            attribute = span.attributes.add()
            attribute.key = fields.get("key", "k")
            if "text" in fields:
                attribute.value.string_value = fields["text"]
            if "number" in fields:
                attribute.value.double_value = fields["number"]
            if "deep" in fields:
                value = attribute.value
                for _ in range(fields["deep"]):
                    value = value.array_value.values.add()
            for _ in range(fields.get("many", 0)):
                span.attributes.add().key = "x"
            span.kind = fields.get("kind", 0)
    return request.SerializeToString()


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a\0b", "key": "k\0"},
        {"number": float("nan")},
        {"number": float("inf")},
        {"deep": 40},
        {"many": 50_000},
        {"kind": 99},
    ],
    ids=str,
)
async def test_hostile_protobuf_affects_nothing_else(shared_server: Running, fields: dict[str, Any]) -> None:
    key = await project_key(shared_server)
    headers = {**key, "Content-Type": "application/x-protobuf"}
    response = await shared_server.client.post("/v1/traces", content=hostile_protobuf(**fields), headers=headers)
    assert (response.status_code, response.content) == (200, b"")
    spans = (await shared_server.call("GET", f"/v1/traces/{TRACE}", headers=key))["data"]["runs"]
    assert {"01" * 8, "02" * 8} <= {one["id"] for one in spans}


async def test_more_than_fits_is_refused_before_it_is_read(shared_server: Running) -> None:
    key = await project_key(shared_server)
    protobuf = {**key, "Content-Type": "application/x-protobuf"}
    empty_spans = b"\x0a\x06\x12\x04\x12\x00\x12\x00" * 500_000  # A million spans of two bytes.
    response = await shared_server.client.post("/v1/traces", content=empty_spans, headers=protobuf)
    assert (response.status_code, response.content[:2]) == (413, b"\x08\x08")
    packed = {**key, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    first, second = run(), run()
    parts = b'{"runs": [', json.dumps(first).encode() + b"," + json.dumps(second).encode(), b"]}"
    members = b"".join(gzip.compress(part, mtime=0) for part in parts)
    response = await shared_server.client.post("/v1/traces", content=members, headers=packed)
    assert response.json() == {"message": "ok"}
    await shared_server.call("GET", f"/v1/traces/{second['trace_id']}", headers=key)
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    answer = await shared_server.call("POST", "/v1/traces", json={"runs": [run(input=deep), run()]}, headers=key)
    assert answer["rejected"] == [{"index": 0, "field": "", "reason": "is nested too deep"}]


async def test_a_trace_whose_root_is_elsewhere_can_fail(shared_server: Running) -> None:
    key = await project_key(shared_server)
    orphan = run(type="node", parent_run_id="elsewhere", status="failed", name="Half")
    await shared_server.call("POST", "/v1/traces", json={"runs": [orphan]}, headers=key)
    query = {"source_id": orphan["source_id"]}
    [listed] = (await shared_server.call("GET", "/v1/traces", params=query))["data"]
    assert (listed["status"], listed["name"], listed["root_count"]) == ("failed", "Half", 0)


async def test_a_project_keeps_its_traces_for_as_long_as_it_says(dsn: str, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path, ScriptedModel(), traces_retention_days=None) as running:
        key = await project_key(running)
        await running.call("POST", "/v1/traces", json={"runs": [run()]}, headers=key)
        other = (await running.call("POST", "/v1/projects", 201, json={"name": "other"}))["data"]["id"]
        made = await running.call("POST", "/v1/access-keys", 201, json={"name": "k", "project_id": other})
        theirs = {"Authorization": f"Bearer {made['data']['key']}"}
        await running.call("POST", "/v1/traces", json={"runs": [run()]}, headers=theirs)
        await running.call("PUT", f"/v1/trace-settings?project_id={other}", json={"retention_days": 1e-9})
    async with serving(dsn, tmp_path, ScriptedModel(), traces_retention_days=None) as running, asyncio.timeout(20):
        while (await running.call("GET", f"/v1/traces?project_id={other}"))["data"]:
            await asyncio.sleep(0.05)
        assert (await running.call("GET", "/v1/traces", headers=key))["data"]

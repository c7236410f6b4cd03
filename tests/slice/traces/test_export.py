"""Runs go to an OTLP endpoint: in batches, again after a failure, with the same ids; never to where they may not."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from stoa.traces.export import span_id
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, until


@dataclass
class Receiver:
    """An OTLP endpoint. `answers` are the statuses of its next answers; then it takes everything."""

    url: str = ""
    answers: list[int] = field(default_factory=list[int])
    refused: int = 0
    spans: list[Any] = field(default_factory=list[Any])
    requests: list[tuple[int, dict[str, str]]] = field(default_factory=list[tuple[int, dict[str, str]]])

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has unpacked it.
        sent = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        spans = [span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans]
        status = self.answers.pop(0) if self.answers else 200
        self.requests.append((status, dict(request.headers)))
        if status != 200:
            return web.Response(status=status, headers={"Retry-After": "0"})
        self.spans += spans
        response = ExportTraceServiceResponse()
        if self.refused:
            response.partial_success.rejected_spans, self.refused = self.refused, 0
        return web.Response(body=response.SerializeToString(), content_type="application/x-protobuf")

    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[Receiver]:
    made = Receiver(answers=list(answers))
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel([answer("Hello ", "there.")])


async def test_runs_of_a_project_are_exported_once_they_have_ended(
    dsn: str, tmp_path: Path, model: ScriptedModel
) -> None:
    async with (
        receiver() as otlp,
        receiver() as operators,
        serving(
            dsn, tmp_path, model, allow_private_addresses=True, otlp_endpoint=operators.url, otlp_headers="a=b%20c"
        ) as server,
    ):
        wanted = {"export": {"url": otlp.url, "headers": {"x-key": "secret"}, "content": True}}
        saved = (await server.call("PUT", "/v1/trace-settings", json=wanted))["data"]
        assert "secret" not in str(saved)
        run = await server.ask(await server.conversation(user_id="ada"), "What is it?")
        await server.call("PUT", "/v1/trace-settings", json=wanted)  # Due at once.
        async with asyncio.timeout(60):
            await until(lambda: len(otlp.spans) >= 2, 50)
        root, call = otlp.spans
        assert (root.name, call.name) == ("invoke_agent Answer", "chat stoa-extractive")
        assert root.trace_id.hex() == run["id"].replace("-", "")
        assert (root.span_id, call.parent_span_id) == (span_id(run["id"], run["id"]), root.span_id)
        told = {one.key: one.value for one in [*root.attributes, *call.attributes]}
        assert told["output.value"].string_value == "Hello there."
        assert told["user.id"].string_value == "ada"
        assert told["gen_ai.usage.input_tokens"].int_value == 12
        assert otlp.requests[0][1]["x-key"] == "secret"
        # The headers stay with a change of the path, and go with a change of the server.
        moved = {"export": {"url": otlp.url + "?tenant=1"}}
        await server.ask(await server.conversation(), "Again")
        await server.call("PUT", "/v1/trace-settings", json=moved)
        async with asyncio.timeout(60):
            await until(lambda: len(otlp.spans) >= 4, 50)
        assert len({span.span_id for span in otlp.spans}) == 4
        assert otlp.requests[-1][1]["x-key"] == "secret"
        assert not any(one.key == "output.value" for span in otlp.spans[2:] for one in span.attributes)
        state = (await server.call("GET", "/v1/trace-settings"))["data"]["export"]
        assert (state["exported_spans"], state["failures"]) == (4, 0)
        # Without an endpoint of its own, a project's runs go to the server's.
        await server.call("PUT", "/v1/trace-settings", json={})
        await server.ask(await server.conversation(), "Elsewhere")
        await server.call("PUT", "/v1/trace-settings", json={})
        async with asyncio.timeout(60):
            await until(lambda: len(operators.spans) == 2, 50)
        assert operators.requests[0][1]["a"] == "b c"
        assert "x-key" not in operators.requests[0][1]


async def test_what_fails_is_sent_again_and_what_is_refused_costs_itself(
    dsn: str, tmp_path: Path, model: ScriptedModel
) -> None:
    async with (
        receiver(503, 400, 400) as otlp,
        serving(dsn, tmp_path, model, allow_private_addresses=True) as server,
    ):
        wanted = {"export": {"url": otlp.url, "paused": True}}
        await server.call("PUT", "/v1/trace-settings", json=wanted)
        runs = [await server.ask(await server.conversation(), text) for text in ("One", "Two")]
        wanted["export"]["paused"] = False
        await server.call("PUT", "/v1/trace-settings", json=wanted)
        async with asyncio.timeout(60):
            await until(lambda: otlp.requests, 30)
            while len(otlp.requests) < 4:
                await server.call("PUT", "/v1/trace-settings", json=wanted)  # Does not wait out the backoff.
                await asyncio.sleep(0.2)
            await until(lambda: len(otlp.spans) == 2, 30)
        assert [status for status, _ in otlp.requests][:4] == [503, 400, 400, 200]
        assert {span.trace_id.hex() for span in otlp.spans} == {runs[1]["id"].replace("-", "")}


@pytest.mark.parametrize(
    ("export", "field"),
    [
        ({"url": "http://collector.example.com/v1/traces"}, "export.url"),
        ({"url": "ftp://example.com"}, "export.url"),
        ({"url": "https://a:b@example.com/"}, "export.url"),
        ({"url": "https://[x/"}, "export.url"),
        ({"url": "https://example.com/\n"}, "export.url"),
        ({"url": "https://example.com/", "headers": {"Content-Length": "3"}}, "export.headers.Content-Length"),
        ({"url": "https://example.com/", "headers": {"a": "b\r\nc: d"}}, "export.headers.a"),
    ],
)
async def test_endpoints_that_are_refused(shared_server: Running, export: dict[str, Any], field: str) -> None:
    refused = await shared_server.call("PUT", "/v1/trace-settings", 400, json={"export": export})
    assert list(refused["error"]["details"]) == [field]

"""Spans per second that the collector stores durably, compared with the minimum that an OTLP receiver can do: `python
-m bench.traces [--seconds 8] [--clients 4]`.

Each request is what the OpenTelemetry exporter sends: protobuf, 512 spans of traces of eight, with the attributes of
the GenAI conventions (about 1.2 kB a span), once plain and once gzipped. `floor` parses the request and appends it to a
file with fsync before it answers. `per core` is spans per CPU second: of the node, and of node and database together.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.bed import KEY, OTHER_CORE, free_port, machine, move_database, on_core, serving, wait_for

SPANS, OF_TRACE = 512, 8
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = "the tide comes twice a day and the harbour master writes down when it does".split()  # noqa: SIM905


def request(seed: int) -> bytes:
    """One export: every id of its own."""
    made, choose = ExportTraceServiceRequest(), random.Random(seed)
    resource = made.resource_spans.add()
    _attribute(resource.resource, "service.name", "shop")
    scope = resource.scope_spans.add()
    begun = time.time_ns()
    for number in range(SPANS):
        if number % OF_TRACE == 0:
            trace_id, root = choose.randbytes(16), b""
        span = scope.spans.add()
        span.trace_id, span.span_id, span.parent_span_id = trace_id, choose.randbytes(8), root
        root = root or span.span_id
        span.name = "chat gpt-4o" if span.parent_span_id else "invoke_agent shop"
        span.start_time_unix_nano, span.end_time_unix_nano = begun, begun + 1_500_000_000
        for name, value in (
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o"),
            ("gen_ai.response.model", "gpt-4o-2024-08-06"),
            ("gen_ai.usage.input_tokens", choose.randrange(4000)),
            ("gen_ai.usage.output_tokens", choose.randrange(800)),
            ("gen_ai.conversation.id", f"conversation-{seed}"),
            ("gen_ai.input.messages", _messages("user", choose)),
            ("gen_ai.output.messages", _messages("assistant", choose)),
        ):  # fmt: skip
            _attribute(span, name, value)
    return made.SerializeToString()


def _attribute(holder: object, key: str, value: object) -> None:
    one = holder.attributes.add()  # type: ignore[attr-defined]
    one.key = key
    if isinstance(value, int):
        one.value.int_value = value
    else:
        one.value.string_value = str(value)


def _messages(role: str, choose: random.Random) -> str:
    text = " ".join(choose.choice(WORDS) for _ in range(60))
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def of_database(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    reaped = (int(fields[13]) + int(fields[14])) / TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return of_process(pid) + reaped + sum(of_process(int(child)) for child in children)


async def load(
    url: str, headers: dict[str, str], clients: int, seconds: float, bodies: list[bytes]
) -> tuple[int, list[float]]:
    """Each body is sent once: the spans are always new. (Requests that were answered 200, milliseconds of each.)"""
    took: list[float] = []
    ends = time.monotonic() + seconds
    left = iter(bodies)

    async def client(session: aiohttp.ClientSession) -> None:
        for body in left:
            if time.monotonic() > ends:
                return
            begun = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
                assert response.status == 200, await response.text()
            took.append((time.perf_counter() - begun) * 1000)

    async with aiohttp.ClientSession() as session:
        begun = time.monotonic()
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return round((time.monotonic() - begun) * 1000), took


def line(name: str, took_ms: int, took: list[float], node: float, database: float) -> None:
    spans = len(took) * SPANS
    ranked = sorted(took)
    print(
        f"{name:16}{spans:9}{spans / took_ms * 1000:11.0f}{ranked[len(ranked) // 2]:9.1f}"
        f"{ranked[int(len(ranked) * 0.99)]:9.1f}{node / spans * 1e6:12.0f}{database / spans * 1e6:10.0f}"
        f"{spans / node:12.0f}{spans / (node + database):12.0f}",
        flush=True,
    )


FLOOR = """
import os, sys
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
kept = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
async def take(request):
    body = await request.read()
    ExportTraceServiceRequest.FromString(body)
    os.write(kept, body)
    os.fdatasync(kept)
    return web.Response(body=b'', content_type='application/x-protobuf')
app = web.Application(client_max_size=2**24)
app.router.add_post('/v1/traces', take)
app.router.add_get('/health', lambda request: web.Response())
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), print=None)
"""


def floor(home: Path, options: argparse.Namespace, bodies: list[bytes]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(on_core(0, [sys.executable, "-c", FLOOR, str(port), str(home / "floor")]))
    try:
        wait_for(url + "/health")
        begun = of_process(server.pid)
        headers = {"Content-Type": "application/x-protobuf"}
        took_ms, took = asyncio.run(load(url + "/v1/traces", headers, options.clients, options.seconds, bodies))
        line("floor", took_ms, took, of_process(server.pid) - begun, 0.0)
    finally:
        server.kill()
        server.wait()


async def project_key(url: str) -> dict[str, str]:
    async with aiohttp.ClientSession(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        async with session.get("/v1/projects") as response:
            project = (await response.json())["data"][0]["id"]
        async with session.post("/v1/access-keys", json={"name": "traces", "project_id": project}) as response:
            return {"Authorization": f"Bearer {(await response.json())['data']['key']}"}


def main(options: argparse.Namespace) -> None:
    made = [request(seed) for seed in range(options.requests)]
    packed = [gzip.compress(body, 1) for body in made]
    print(
        f"{machine()}; {len(made[0]) / SPANS:.0f} bytes a span, gzipped {len(packed[0]) / SPANS:.0f}; CPU in us a span"
    )
    print(
        f"{'':16}{'spans':>9}{'spans/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'node':>12}{'db':>10}"
        f"{'node/core':>12}{'all/core':>12}"
    )
    with tempfile.TemporaryDirectory(prefix="stoa-traces-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        floor(home, options, made)
        with serving(home / "data") as (server, url):
            database = move_database(home)
            key = asyncio.run(project_key(url))
            third = len(made) // 3
            for name, bodies, more in (
                ("warm up", made[:third], {}),
                ("stoa", made[third : 2 * third], {}),
                ("stoa, gzip", packed[2 * third :], {"Content-Encoding": "gzip"}),
            ):
                node, of_db = of_process(server.pid), of_database(database)
                headers = {**key, "Content-Type": "application/x-protobuf", **more}
                took_ms, took = asyncio.run(load(url + "/v1/traces", headers, options.clients, options.seconds, bodies))
                line(name, took_ms, took, of_process(server.pid) - node, of_database(database) - of_db)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=360, help="made beforehand; a third for each part")
    arguments = parser.parse_args()
    if sys.platform == "linux":
        os.sched_setaffinity(0, {OTHER_CORE})
    main(arguments)

"""Programs that send traces, unmodified: the OpenTelemetry exporter (protobuf, plain and gzipped), OpenInference's and
OpenLLMetry's instrumentations of the openai client, and the platform's tracing client; against a server of its own.

    python -m bench.compat_traces --python PYTHON

PYTHON has `opentelemetry-exporter-otlp-proto-http`, `openinference-instrumentation-openai`,
`opentelemetry-instrumentation-openai`, `openai` and `dynamiq`; what it lacks is left out and said so. The output stands
in bench/compat_traces.txt.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from bench.bed import KEY, serving
from tests.support.scripted_model import ScriptedServer

EXPORTER = """
import os, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
exporter = OTLPSpanExporter(
    endpoint=sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]},
    compression=Compression.Gzip if sys.argv[3] == "gzip" else Compression.NoCompression)
provider = TracerProvider(resource=Resource.create({"service.name": "shop-" + sys.argv[3]}))
provider.add_span_processor(BatchSpanProcessor(exporter))
"""
PLAIN = (
    EXPORTER
    + """
tracer = provider.get_tracer("bench")
with tracer.start_as_current_span("invoke_agent shop", attributes={
        "gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 7, "user.id": "ada"}):
    with tracer.start_as_current_span("chat gpt-4o", attributes={
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3, "gen_ai.input.messages": '[{"role": "user"}]'}) as span:
        span.record_exception(ValueError("late"))
        span.set_status(trace.StatusCode.ERROR, "late")
provider.shutdown()
"""
)
INSTRUMENTED = (
    EXPORTER
    + """
import openai
INSTRUMENT
client = openai.OpenAI(base_url=sys.argv[4], api_key="x")
for _ in client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "Hi there"}], stream=True,
        stream_options={"include_usage": True}):
    pass
provider.shutdown()
"""
)
OPENINFERENCE = """from openinference.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument(tracer_provider=provider)"""
OPENLLMETRY = """from opentelemetry.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument(tracer_provider=provider)"""
PLATFORM = """
import os, sys
os.environ["DYNAMIQ_ACCESS_KEY"] = sys.argv[2]
from dynamiq import Workflow
from dynamiq.callbacks.tracing import DynamiqTracingCallbackHandler
from dynamiq.clients import DynamiqTracingClient
from dynamiq.flows import Flow
from dynamiq.nodes.utils import Input, Output
from dynamiq.runnables import RunnableConfig
client = DynamiqTracingClient(base_url=sys.argv[1], access_key=sys.argv[2])
handler = DynamiqTracingCallbackHandler(client=client, source_id="bench", session_id="s", tags=["t"])
first = Input(id="in")
workflow = Workflow(flow=Flow(nodes=[first, Output(id="out").depends_on(first)]))
workflow.run(input_data={"q": "hi"}, config=RunnableConfig(callbacks=[handler]))
"""


def question(name: str, said: object, expected: object) -> int:
    print(f"ok     {name}" if said == expected else f"FAILED {name}: {said}", flush=True)
    return said != expected


def run(python: str, code: str, *arguments: str) -> str | None:
    """None if it succeeded; otherwise the missing module, or the error."""
    environment = {**os.environ, "OTEL_SDK_DISABLED": "false", "TRACELOOP_TRACE_CONTENT": "true"}
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return None if done.returncode == 0 else last


async def traces(http: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    return list((await http.get("/v1/traces", params=query)).json()["data"])


async def ask(python: str, url: str, model_url: str) -> int:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http:
        project = (await http.get("/v1/projects")).json()["data"][0]["id"]
        made = await http.post("/v1/access-keys", json={"name": "traces", "project_id": project})
        key, failed = made.json()["data"]["key"], 0
        endpoint = f"{url}/collector/v1/traces"

        async def sent(name: str, code: str, *arguments: str) -> bool:
            problem = await asyncio.to_thread(run, python, code, *arguments)
            if problem is not None:
                print(f"{'left out' if 'No module named' in problem else 'FAILED'} {name}: {problem}", flush=True)
            return problem is None

        for how in ("plain", "gzip"):
            if await sent(f"opentelemetry exporter, {how}", PLAIN, endpoint, key, how):
                [one] = await traces(http, source_id=f"shop-{how}")
                said = one["run_count"], one["models"], one["total_tokens"], one["user_id"], one["status"]
                failed += question(f"opentelemetry exporter, {how}", said, (2, ["gpt-4o"], 10, "ada", "succeeded"))
        for name, instrument in (("openinference", OPENINFERENCE), ("openllmetry", OPENLLMETRY)):
            code = INSTRUMENTED.replace("INSTRUMENT", instrument)
            if await sent(f"{name}: the openai client", code, endpoint, key, name, model_url):
                [one] = await traces(http, source_id=f"shop-{name}")
                [span] = (await http.get(f"/v1/traces/{one['id']}")).json()["data"]["runs"]
                held = "Hi there" in str(span.get("input")), span.get("output") is not None
                said = one["models"], one["prompt_tokens"] > 0, *held
                failed += question(f"{name}: the openai client", said, (["scripted"], True, True, True))
        if await sent("dynamiq's tracing client", PLATFORM, url, key):
            [one] = await traces(http, source_id="bench")
            said = one["wire"], one["status"], one["session_id"], one["tags"], one["run_count"]
            failed += question("dynamiq's tracing client", said, ("sdk", "succeeded", "s", ["t"], 4))
        return failed


async def main(python: str) -> int:
    with tempfile.TemporaryDirectory(prefix="stoa-compat-") as directory:
        Path(directory).chmod(0o755)
        async with ScriptedServer() as model:
            with serving(Path(directory) / "data") as (_, url):
                return await ask(python, url, model.url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    sys.exit(asyncio.run(main(parser.parse_args().python)))

"""The platform's pipelines, from a file: documents into a knowledge base, answers out of it; Python on the way."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.confined import confines
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import SHORT_NAMES, flow, node
from tests.support.knowledge import settled
from tests.support.terminal import Terminal

FILE = """
connections:
  openai: {type: dynamiq.connections.OpenAI, api_key: "${oc.env:OPENAI_API_KEY}"}
  postgres: {type: dynamiq.connections.PostgreSQL, host: "${oc.env:POSTGRESQL_HOST}"}
prompts:
  answer:
    messages:
      - role: user
        content: |
          {% for document in documents %}
          Title: {{ document.metadata["title"] }} Text: {{ document.content }}
          {% endfor %}
          Question: {{query}}
nodes:
  read: {type: dynamiq.nodes.converters.UnstructuredFileConverter, strategy: auto}
  cut:
    type: dynamiq.nodes.splitters.DocumentSplitter
    split_by: passage
    split_length: 1
    depends: [{node: read}]
    input_transformer: {path: null, selector: {documents: $.read.output.documents}}
  embed:
    type: dynamiq.nodes.embedders.OpenAIDocumentEmbedder
    connection: openai
    depends: [{node: cut}]
    input_transformer: {selector: {documents: $.cut.output.documents}}
  write:
    type: dynamiq.nodes.writers.PGVectorDocumentWriter
    connection: postgres
    table_name: travel
    dimension: 1536
    depends: [{node: embed}]
    input_transformer: {selector: {documents: $.embed.output.documents}}
  ask: {type: dynamiq.nodes.embedders.OpenAITextEmbedder, connection: openai, model: text-embedding-3-small}
  find:
    type: dynamiq.nodes.retrievers.PGVectorDocumentRetriever
    connection: postgres
    table_name: travel
    depends: [{node: ask}]
    input_transformer: {selector: {embedding: $.ask.output.embedding}}
    output_transformer: {selector: {documents: $.documents}}
  say:
    type: dynamiq.nodes.llms.CustomLLM
    model: stoa-extractive
    prompt: answer
    depends: [{node: find}]
    input_transformer: {selector: {query: $.query, documents: $.find.output.documents}}
    output_transformer: {selector: {answer: $.content}}
flows:
  indexing: {nodes: [read, cut, embed, write]}
  retrieval: {nodes: [ask, find, say]}
workflows:
  fill: {flow: indexing}
  ask: {flow: retrieval}
"""


@pytest.fixture(scope="module")
async def shared(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"pipelines_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model, sandbox="subprocess") as server:
        yield server


@pytest.fixture
def server(shared: Running) -> Running:
    shared.model.scripts = [answer("Fine.")]
    shared.model.requests.clear()
    return shared


async def ran(server: Running, app: str, fields: dict[str, Any], *files: tuple[str, bytes]) -> dict[str, Any]:
    path = f"/apps/{app}/v1/runs"
    if not files:
        return dict((await server.call("POST", path, json={"input": fields}))["data"])
    parts = [("files", one) for one in files]
    sent = {"input": orjson.dumps(fields).decode()}
    return dict((await server.call("POST", path, files=parts, data=sent))["data"])


async def test_files_go_into_a_knowledge_base_and_answers_come_out(server: Running, tmp_path: Path) -> None:
    stoa, file = Terminal(server, "apps"), tmp_path / "travel.yaml"
    file.write_text(FILE)
    said = await stoa("deploy", str(file), "--workflow", "fill")
    assert "the knowledge base 'travel' here" in said.replace("\n", " ")
    assert "knowledge base travel is made" in said
    filling = said.strip().split("\n")[-1].split()[0]
    text = b"A hotel costs 100 euro.\n\nA taxi costs 20 euro."
    run = await ran(server, filling, {}, ("prices.md", text))
    assert run["status"] == "completed", run
    assert run["output"]["upserted_count"] == 2, run["output"]
    said = await stoa("deploy", str(file), "--workflow", "ask")
    assert "is made" not in said
    asking = said.strip().split("\n")[-1].split()[0]
    (base,) = (await server.call("GET", "/v1/knowledgebases"))["data"]
    items = await settled(server, base["id"])
    assert [item["status"] for item in items] == ["processed"] * 2
    assert {item["metadata"]["file_name"] for item in items} == {"prices.md"}
    assert {item["id"] for item in items} == set(run["output"]["item_ids"])
    run = await ran(server, asking, {"query": "What does a taxi cost?"})
    assert (run["status"], run["output"]) == ("completed", {"answer": "Fine."})
    asked = server.model.requests[-1].messages[-1].parts[0].text
    assert "Title:  Text: A taxi costs 20 euro." in asked
    assert asked.strip().endswith("Question: What does a taxi cost?")


@confines
async def test_code_runs_in_the_sandbox_of_the_server(server: Running) -> None:
    double = "def run(given):\n    return {'content': given['n'] * 2}"
    tool = {"type": "dynamiq.nodes.tools.python.Python", "name": "double", "code": double}
    graph = flow(
        node("python", "twice", "start", code=double, approval={"enabled": True}),
        node("agent", "a", "twice", tools=[tool], pick={"input": "$.twice.output.content"}),
    )
    app = await deployed(server, graph)
    server.model.scripts = [calling(("double", '{"n": 8}')), answer("16")]
    run = await ran(server, app["id"], {"n": 4})
    assert run["status"] == "paused", "a person is asked before the node's call, as before any tool's"
    (request,) = run["input_requests"]
    body = {"type": "approval", "data": {"request_id": request["id"], "approved": True}}
    await server.call("POST", f"/v1/runs/{run['id']}/input", json=body)
    ended = await server.status(run["id"], "completed", "failed")
    assert ended["result"] == {"content": "16"}, ended
    assert "8" in server.model.requests[0].messages[-1].parts[0].text
    lines = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
    assert [(line["name"], line["status"]) for line in lines] == [("twice", "completed"), ("double", "completed")]


async def test_what_the_server_runs_is_listed(server: Running) -> None:
    listed = (await server.call("GET", "/v1/agent-builder/nodes", params={"group": "tools"}))["data"]
    assert "dynamiq.nodes.tools.Python" in str(listed)
    wanting = flow(node("embed", "e", "start"))
    verdict = await server.call("POST", "/v1/workflows/test", 400, json={"flow": wanting, "input": {}})
    assert "gives no vectors here" in verdict["error"]["message"]
    assert SHORT_NAMES["embed"] in str(await server.call("GET", "/v1/agent-builder/nodes"))


ROWS = """
nodes:
  read: {type: dynamiq.nodes.converters.CSVConverter, content_column: What, metadata_columns: [Price], delimiter: ","}
flows: {f: {nodes: [read]}}
workflows: {rows: {flow: f}}
"""


async def test_the_rows_of_a_csv_file_become_documents(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text(ROWS)
    app = (await Terminal(server, "apps")("deploy", str(file))).strip().split("\n")[-1].split()[0]
    table = "What,Price,Note\n" + "".join(f'"A hotel, no. {n} | new",{n},"two\nlines"\n' for n in range(400))
    run = await ran(server, app, {}, ("prices.csv", table.encode()))
    assert run["status"] == "completed", run
    found = run["output"]["documents"]
    assert [one["content"] for one in found] == [f"A hotel, no. {n} | new" for n in range(400)]
    assert [one["metadata"]["Price"] for one in found] == [str(n) for n in range(400)]
    assert [one["metadata"]["row_number"] for one in found] == list(range(2, 402))

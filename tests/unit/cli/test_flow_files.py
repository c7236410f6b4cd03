"""Files that hold a flow: our own form, and the YAML of the platform's library."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoa.cli import flow_skills
from stoa.cli.flow_files import FileError, FlowFile, read, tool_name
from stoa.cli.flow_stores import with_ids
from stoa.runs import read_graph
from stoa.runs.workflow.nodes import naming

PLATFORM = """
connections:
  model-conn: {type: dynamiq.connections.OpenAI, api_key: "${oc.env:OPENAI_API_KEY}"}
  facts-conn:
    type: dynamiq.connections.Http
    method: GET
    url: https://facts.example/${place}
    headers: {Authorization: "Bearer ${oc.env:FACTS_KEY}"}
    params: {key: "${oc.env:FACTS_KEY}", lang: "${oc.env:LANG_WANTED,en}"}
  docs-conn: {type: dynamiq.connections.MCPStreamableHTTP, url: "https://docs.example/mcp", headers: {X-Key: "abc"}}
  local-conn: {type: dynamiq.connections.MCPStdio, command: python, args: [server.py]}
place: cats
prompts:
  check: {messages: [{role: user, content: "Check {{text}}"}]}
nodes:
  writer:
    type: dynamiq.nodes.agents.Agent
    name: Writer
    role: Write about {{topic}}.
    llm: {id: l, type: dynamiq.nodes.llms.OpenAI, model: gpt-x, connection: model-conn, prompt: null}
    memory: {backend: {type: dynamiq.memory.backends.Pinecone}}
    max_loops: 3
    tools:
      - {type: dynamiq.nodes.tools.http_api_call.HttpApiCall, name: Cat facts!, connection: facts-conn, timeout: 60,
         params: {limit: 10}, description: Facts about cats}
      - {type: dynamiq.nodes.tools.MCPServer, id: m, name: docs, connection: docs-conn}
      - {type: dynamiq.nodes.tools.MCPTool, id: t, name: add, connection: local-conn}
  checker:
    type: dynamiq.nodes.llms.OpenAI
    model: gpt-x
    connection: model-conn
    prompt: check
    fallback: {enabled: true}
    depends: [{node: writer}]
    input_transformer: {path: null, selector: {text: $.writer.output.content}}
flows:
  main: {name: Main, nodes: [writer, checker], max_node_workers: 2}
workflows:
  My Workflow: {flow: main, version: 1}
"""
ENVIRONMENT = {"FACTS_KEY": "s3cret"}


def platform(**fields: Any) -> FlowFile:
    return read(PLATFORM, ENVIRONMENT, **fields)


def test_the_platform_s_file_becomes_a_graph_and_its_tools() -> None:
    found = platform()
    assert found.name == "my-workflow"
    graph = read_graph(found.flow)
    assert [one.node.id for one in graph.nodes] == ["input", "writer", "checker", "output"]
    assert graph.at_once == 2
    tools = {tool["name"]: tool for tool in found.tools}
    assert set(tools) == {"Cat_facts", "docs", "local-conn"}
    assert set(graph.needs()["writer"].tools) == {"Cat_facts", "docs", "local-conn__add"}
    facts = tools["Cat_facts"]
    assert (facts["config"]["url"], facts["idempotent"]) == ("https://facts.example/cats", True)
    assert (facts["timeout_seconds"], facts["description"]) == (60.0, "Facts about cats")
    assert facts["config"]["query"] == {"key": "{{secret.query_key}}", "lang": "{{secret.query_lang}}", "limit": "10"}
    assert facts["config"]["headers"] == {"Authorization": "{{secret.header_Authorization}}"}
    assert facts["secrets"]["header_Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(found.flow), "a flow holds no secret"
    assert tools["docs"]["config"]["url"] == "https://docs.example/mcp"
    assert tools["local-conn"]["config"] == {"server": "local-conn"}
    notes = " ".join(found.notes)
    for said in ("stoa.toml", "memory is the conversation", "fallback", "keys of a file's connections"):
        assert said in notes


def test_our_own_forms() -> None:
    short = read("name: Tickets\nagent: {model: stoa-extractive}", {})
    assert (short.name, short.flow) == ("tickets", {"agent": {"model": "stoa-extractive"}})
    graph = read('{"id": "g", "nodes": [{"id": "a", "type": "dynamiq.nodes.utils.Input"}]}', {})
    assert graph.flow["nodes"][0]["id"] == "a"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "holds no object"),
        ("a: [", "no YAML"),
        ("nodes: {}", "0 workflows"),
        ("workflows: {a: {flow: f}, b: {flow: f}}", "choose one with --workflow"),
        ("workflows: {a: {flow: f}}", "workflows.a.flow is 'f'"),
        ("workflows: {a: {flow: f}}\nflows: {f: {nodes: [x]}}", "names 'x', which is no node"),
        ("a: ${b}\nb: ${a}", "circle"),
        ("a: ${nothing.here}", "refers to nothing"),
        ("x: !!python/object/apply:os.system [ls]", "no YAML"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, says: str) -> None:
    with pytest.raises(FileError, match=says):
        read(text, {})


def test_a_node_that_sends_data_keeps_it_and_an_agent_s_tool_may_not() -> None:
    text = """
connections: {c: {type: dynamiq.connections.Http, method: POST, url: "https://x.example/", data: {a: 1}}}
nodes: {post: {type: dynamiq.nodes.tools.HttpApiCall, connection: c, data: {b: 2}, depends: []}}
flows: {f: {nodes: [post]}}
workflows: {w: {flow: f}}
"""
    (post,) = [one for one in read(text, {}).flow["nodes"] if one["id"] == "post"]
    assert post["input_transformer"]["selector"] == {"data": {"a": 1, "b": 2}}
    agent = """
connections: {c: {type: dynamiq.connections.Http, method: POST, url: "https://x.example/", data: {a: 1}}}
nodes: {a: {type: dynamiq.nodes.agents.Agent, tools: [{type: dynamiq.nodes.tools.HttpApiCall, id: t, connection: c}]}}
flows: {f: {nodes: [a]}}
workflows: {w: {flow: f}}
"""
    with pytest.raises(FileError, match="sends data with each call"):
        read(agent, {})


@pytest.mark.parametrize("title", ["Cat facts!", "a__b", "é", "x" * 90, "_a_", "Sum-1", "", "名前"])
def test_the_command_names_tools_as_the_server_does(title: str) -> None:
    assert tool_name(title) == naming.tool_name(title)


STORES = """
nodes:
  agent:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.CustomLLM, model: stoa-extractive}
    tools:
      - id: search
        type: dynamiq.nodes.retrievers.VectorStoreRetriever
        text_embedder: {type: dynamiq.nodes.embedders.OpenAITextEmbedder, connection: {type: x, api_key: hidden}}
        document_retriever: {type: dynamiq.nodes.retrievers.WeaviateDocumentRetriever, index_name: trips, top_k: 9}
        document_reranker: {type: dynamiq.nodes.rankers.CohereReranker, top_k: 3}
  keep:
    type: dynamiq.nodes.writers.WeaviateDocumentWriter
    index_name: trips
    tenant_name: acme
  find: {type: dynamiq.nodes.retrievers.PineconeDocumentRetriever, connection: p}
  own:
    type: dynamiq.nodes.retrievers.PineconeDocumentRetriever
    knowledgebase_id: 01890a5d-ac96-774b-bcce-b302099a8057
flows: {main: {nodes: [agent, keep, find, own]}}
workflows: {main: {flow: main}}
"""


def test_vector_stores_become_knowledge_bases() -> None:
    found = read(STORES, {})
    assert found.bases == ["trips", "trips/acme", "default"]
    assert "hidden" not in str(found.flow)
    ids = {name: f"01890a5d-ac96-774b-bcce-b302099a805{index}" for index, name in enumerate(found.bases)}
    flow = with_ids(found.flow, ids)
    graph = read_graph(flow)
    named = {one.node.id: [str(base_id) for base_id in one.node.needs().bases] for one in graph.nodes}
    own = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert {name: named[name] for name in ("agent", "keep", "find", "own")} == {
        "agent": [ids["trips"]],
        "keep": [ids["trips/acme"]],
        "find": [ids["default"]],
        "own": [own],
    }
    (tool,) = next(one for one in flow["nodes"] if one["id"] == "agent")["tools"]
    assert tool["top_k"] == 3
    assert sum("is the knowledge base" in note for note in found.notes) == 3


SKILLED = """
nodes:
  agent:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.CustomLLM, model: stoa-extractive}
    skills:
      enabled: true
      source: {type: dynamiq.skills.registries.FileSystem, base_path: .skills, skills: [{name: mine}, {name: ../up}]}
  other:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.CustomLLM, model: stoa-extractive}
    skills:
      enabled: true
      source:
        type: dynamiq.skills.registries.Dynamiq
        skills:
          - {id: 01890a5d-ac96-774b-bcce-b302099a8057, version_id: 01890a5d-ac96-774b-bcce-b302099a8058, name: far}
flows: {f: {nodes: [agent, other]}}
workflows: {w: {flow: f}}
"""
OWN, FAR = "01890a5d-ac96-774b-bcce-b302099a8000", "01890a5d-ac96-774b-bcce-b302099a8001"


def test_skills_are_found_by_name_or_beside_the_file(tmp_path: Path) -> None:
    flow = read(SKILLED, {}).flow
    mine, up, far = flow_skills.wanted(flow)
    place = tmp_path / ".skills" / "mine"
    place.mkdir(parents=True)
    (place / "notes.md").write_text("More.")
    (place / ".hidden").write_text("No.")
    (place / "link").symlink_to("/etc/hostname")
    assert flow_skills.directory_of(mine, tmp_path / "app.yaml") == place
    assert flow_skills.archive(place) is None, "without a SKILL.md it is no skill"
    (place / "SKILL.md").write_text("Be brief.")
    with zipfile.ZipFile(io.BytesIO(flow_skills.archive(place) or b"")) as written:
        assert written.namelist() == ["SKILL.md", "notes.md"]
    assert flow_skills.directory_of(up, tmp_path / "app.yaml") is None
    assert flow_skills.directory_of(replace(mine, directory="/etc"), tmp_path / "app.yaml") is None
    assert flow_skills.directory_of(far, tmp_path / "app.yaml") is None
    there = {"mine": OWN, "far": FAR}
    placed = {one["id"]: one for one in flow_skills.with_ids(flow, lambda name, _: there.get(name))["nodes"]}
    assert placed["agent"]["skills"]["source"]["skills"][0] == {"name": "mine", "id": OWN, "version_id": "latest"}
    assert placed["agent"]["skills"]["source"]["skills"][1] == {"name": "../up"}
    assert placed["other"]["skills"]["source"]["skills"] == [{"name": "far", "id": FAR, "version_id": "latest"}]
    kept = flow_skills.with_ids(flow, lambda _, given: given)["nodes"]
    assert kept == flow["nodes"], "a skill of this project keeps its version"


STATES = """
connections: {c: {type: dynamiq.connections.OpenAI}}
nodes:
  team:
    type: dynamiq.nodes.agents.orchestrators.GraphOrchestrator
    manager: {type: dynamiq.nodes.agents.orchestrators.GraphAgentManager}
    initial_state: dig
    states:
      - {id: write, next_states: [END], tasks: [{type: dynamiq.nodes.agents.Agent, id: w, role: Write., llm: LLM}]}
      - id: dig
        next_states: [write]
        tasks:
          - {type: dynamiq.nodes.agents.Agent, id: a, role: Dig., llm: LLM}
          - {type: dynamiq.nodes.agents.Agent, id: b, role: Dig., llm: LLM}
flows: {f: {nodes: [team]}}
workflows: {w: {flow: f}}
""".replace("LLM", "{type: dynamiq.nodes.llms.OpenAI, connection: c, model: m}")


def test_states_in_a_row_are_agents_joined_by_edges() -> None:
    found = read(STATES, {})
    graph, nodes = read_graph(found.flow), {one["id"]: one for one in found.flow["nodes"]}
    assert [one.node.id for one in graph.nodes] == ["input", "team-1-1", "team-1-2", "team", "output"]
    assert nodes["team"]["depends"] == [{"node": "team-1-1"}, {"node": "team-1-2"}]
    assert nodes["team"]["input_transformer"]["selector"]["answer_2"] == "$.team-1-2.output.content"
    assert nodes["output"]["depends"] == [{"node": "team"}]
    assert "connection" not in nodes["team"]["llm"]
    assert "follow one another" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("before", "after"),
    [("[END]", "[END, dig]"), ("[END]", "[dig]"), ("initial_state: dig", "initial_state: none"), ("id: dig", "id: x")],
)
def test_states_that_a_manager_chooses_stay_and_are_refused(before: str, after: str) -> None:
    kinds = {one["type"].rsplit(".", 1)[-1] for one in read(STATES.replace(before, after), {}).flow["nodes"]}
    assert "GraphOrchestrator" in kinds

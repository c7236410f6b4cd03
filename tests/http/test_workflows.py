"""Workflows: drawn, saved and given back byte for byte, released once and for all, refused by name."""

import asyncpg
import orjson
import pytest

from tests.conftest import Running

FLOW = (
    b'{ "id":"9b2c4c1e-8f0a-4d3e-9a6e-0b1c2d3e4f50",\n  "nodes" : [ {"id":"start","name":"start",'
    b'"type":"dynamiq.nodes.utils.Input","x":1.50,"y":1e2}, {"id":"writer","name":"caf\\u00e9",'
    b'"type":"dynamiq.nodes.agents.Agent","llm":{"type":"dynamiq.nodes.llms.CustomLLM","model":"stoa-extractive"},'
    b'"depends":[{"node":"start"}]},\t'
    b'{"id":"end","type":"dynamiq.nodes.utils.Output","depends":[{"node":"writer"}]} ] }'
)
CANVAS = b'{"nodes":[],  "edges":[ ],"custom_node_data":{"a":{"flow":{"nodes":[1.0]}}}}'


def body(**fields: bytes) -> bytes:
    return b"{ " + b" , ".join(b'"%b" :  %b' % (name.encode(), text) for name, text in fields.items()) + b"\n}"


async def drawn(server: Running, flow: bytes = FLOW, name: str = "tickets") -> str:
    """A workflow."""
    response = await server.client.post(
        "/v1/workflows",
        content=body(name=orjson.dumps(name), flow=flow, flow_ui=CANVAS),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 201, response.text
    return str(response.json()["data"]["id"])


async def test_a_flow_is_given_back_byte_for_byte(shared_server: Running) -> None:
    server, json_type = shared_server, {"Content-Type": "application/json"}
    workflow_id = await drawn(server)
    for path, name in ((f"/v1/workflows/{workflow_id}/save", b""), (f"/v1/workflows/{workflow_id}/release", b'"v1"')):
        fields = {"flow_ui": CANVAS, "flow": FLOW} | ({"name": name} if name else {})
        response = await server.client.post(path, content=body(**fields), headers=json_type)
        assert response.status_code in (200, 201), response.text
        assert FLOW in response.content
        assert CANVAS in response.content
    read = await server.client.get(f"/v1/workflows/{workflow_id}")
    assert FLOW in read.content
    assert CANVAS in read.content
    version = (await server.call("GET", f"/v1/workflows/{workflow_id}/versions"))["data"][0]
    assert "flow" not in version
    released = await server.client.get(f"/v1/workflows/{workflow_id}/versions/{version['id']}")
    assert FLOW in released.content
    assert released.json()["data"]["version"] == 1


async def test_a_released_version_never_changes(shared_server: Running) -> None:
    server = shared_server
    workflow_id = await drawn(server)
    for name in ("one", "two"):
        sent = {"name": name, "flow": orjson.loads(FLOW), "flow_ui": {}}
        await server.call("POST", f"/v1/workflows/{workflow_id}/release", 201, json=sent)
    await server.call("POST", f"/v1/workflows/{workflow_id}/save", json={"flow": {"agent": {}}})
    versions = (await server.call("GET", f"/v1/workflows/{workflow_id}/versions"))["data"]
    assert [(one["version"], one["name"]) for one in versions] == [(2, "two"), (1, "one")]
    assert (await server.call("GET", f"/v1/workflows/{workflow_id}"))["data"]["flow"] == {"agent": {}}
    database = await asyncpg.connect(server.dsn)
    try:
        async with database.transaction():
            await database.execute("SET LOCAL ROLE stoa_tenant")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute("UPDATE workflow_versions SET name = 'other'")
    finally:
        await database.close()


async def test_put_changes_name_and_description_alone(shared_server: Running) -> None:
    server = shared_server
    workflow_id = await drawn(server)
    changed = await server.call("PUT", f"/v1/workflows/{workflow_id}", json={"name": "other", "description": "d"})
    assert (changed["data"]["name"], changed["data"]["description"]) == ("other", "d")
    assert (await server.call("PUT", f"/v1/workflows/{workflow_id}", json={"description": None}))["data"].get(
        "description"
    ) is None
    await server.call("PUT", f"/v1/workflows/{workflow_id}", 400, json={"flow": {}})


def graph(*nodes: dict[str, object]) -> dict[str, object]:
    start = {"id": "start", "type": "dynamiq.nodes.utils.Input"}
    end = {"id": "end", "type": "dynamiq.nodes.utils.Output", "depends": [{"node": "start"}]}
    return {"id": "g", "nodes": [start, *nodes, end]}


LLM = {"type": "dynamiq.nodes.llms.OpenAI", "model": "gpt-5"}


@pytest.mark.parametrize(
    ("flow", "path", "says"),
    [
        ({}, "flow.nodes", "at least one node"),
        ({"nodes": []}, "flow.nodes", "at least one node"),
        ({"agent": 1}, "flow.agent", "object"),
        ({"agent": {"tools": ["none-such"]}}, "flow.agent.tools[0]", "none-such"),
        ({"agent": {"instruction": "x"}}, "flow.agent.instruction", "did you mean instructions?"),
        (graph({"id": "x", "type": "dynamiq.nodes.tools.Tavily"}), "flow.nodes[1].type", "dynamiq.nodes.tools.Tavily"),
        (
            graph({"id": "x", "type": "dynamiq.nodes.tools.Python", "code": "def run(x): return x"}),
            "flow.nodes.x",
            "STOA_SANDBOX",
        ),
        (graph({"id": "x", "type": "dynamiq.nodes.agents.Agent"}), "flow.nodes[1].llm", "required"),
        (
            graph(
                {
                    "id": "x",
                    "type": "dynamiq.nodes.agents.Agent",
                    "llm": LLM,
                    "tools": [{"name": "t", "type": "dynamiq.nodes.tools.Exa"}],
                }
            ),
            "flow.nodes[1].tools[0].type",
            "'t'",
        ),
        (
            graph({"id": "m", "type": "dynamiq.nodes.operators.Map", "node": {"id": "i", "type": "no.such"}}),
            "flow.nodes[1].node.type",
            "'no.such'",
        ),
        (graph({"id": "start", "type": "dynamiq.nodes.utils.Output"}), "flow.nodes[1].id", "flow.nodes[0]"),
        (
            graph({"id": "x", "type": "dynamiq.nodes.utils.Output", "depends": ["gone"]}),
            "flow.nodes[1].depends[0].node",
            "'gone'",
        ),
        (
            graph({"id": "x", "type": "dynamiq.nodes.utils.Output", "depends": "x"}),
            "flow.nodes[1].depends[0].node",
            "itself",
        ),
        (graph({"id": "x", "type": "dynamiq.nodes.utils.Input"}), "flow.nodes", "there are 2"),
    ],
)
async def test_what_would_not_run_is_refused_on_release_and_saved_all_the_same(
    shared_server: Running, flow: dict[str, object], path: str, says: str
) -> None:
    server = shared_server
    workflow_id = await drawn(server)
    await server.call("POST", f"/v1/workflows/{workflow_id}/save", json={"flow": flow, "flow_ui": {}})
    sent = {"name": "v", "flow": flow, "flow_ui": {}}
    error = (await server.call("POST", f"/v1/workflows/{workflow_id}/release", 400, json=sent))["error"]
    assert says in error["details"][path], error
    assert (await server.call("GET", f"/v1/workflows/{workflow_id}/versions"))["data"] == []


async def test_the_nodes_that_run(shared_server: Running) -> None:
    found = (await shared_server.call("GET", "/v1/agent-builder/nodes"))["data"]
    types = [one["type"] for one in found]
    assert "dynamiq.nodes.agents.Agent" in types
    assert "dynamiq.nodes.tools.Python" not in types
    llms = (await shared_server.call("GET", "/v1/agent-builder/nodes?group=llms"))["data"]
    assert {one["group"] for one in llms} == {"llms"}
    await shared_server.call("GET", "/v1/agent-builder/nodes?group=none", 400)

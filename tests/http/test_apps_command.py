"""`stoa apps`: a file becomes an app, the same file again changes nothing, an edit is a new version."""

import json
from pathlib import Path

from tests.conftest import Running
from tests.support.terminal import Terminal

FILE = """
connections:
  facts:
    {type: dynamiq.connections.Http, method: GET, url: "http://127.0.0.1:9/", headers: {X-Key: "${oc.env:FACTS_KEY}"}}
  model: {type: dynamiq.connections.OpenAI}
nodes:
  facts:
    type: dynamiq.nodes.tools.HttpApiCall
    name: cat-facts
    connection: facts
    error_handling: {behavior: return}
  writer:
    type: dynamiq.nodes.llms.CustomLLM
    model: stoa-extractive
    connection: model
    prompt: {messages: [{role: user, content: "Write about {{topic}}."}]}
    depends: [{node: facts}]
flows: {main: {nodes: [facts, writer]}}
workflows: {facts-about: {flow: main}}
"""


async def test_a_file_is_deployed_again_and_changed(shared_server: Running, tmp_path: Path) -> None:
    server, stoa = shared_server, Terminal(shared_server, "apps")
    file = tmp_path / "facts.yaml"
    file.write_text(FILE)
    said = await stoa("deploy", str(file), "--dry-run", FACTS_KEY="s3cret")
    assert "note: Models are those of the server" in said
    dry = json.loads(said[said.index("{") :])
    assert dry["tools"][0]["secrets"] == ["header_X-Key"]
    said = await stoa("deploy", str(file), FACTS_KEY="s3cret")
    assert "tool cat-facts is made" in said
    assert "facts-about runs version 1" in said
    app_id = said.split("\n")[-2].split()[0]
    assert app_id in await stoa("list")
    body = {"input": {"topic": "cats", "params": {}}}
    run = (await server.call("POST", f"/apps/{app_id}/v1/runs", json=body))["data"]
    assert run["status"] == "completed", run
    assert "cats" in server.model.requests[-1].messages[-1].parts[0].text
    failed = [one["data"] for one in await server.events(run["id"]) if one["type"] == "workflow.node.failed"]
    assert [(one["id"], one["error"]["code"]) for one in failed] == [("facts", "tool_address_refused")]
    assert "runs version 1" in await stoa("deploy", str(file), FACTS_KEY="s3cret")
    file.write_text(FILE.replace("Write about", "Say something about"))
    said = await stoa("deploy", str(file), FACTS_KEY="s3cret")
    assert "runs version 2" in said
    assert app_id in said
    file.write_text(FILE.replace("tools.HttpApiCall", "tools.Python\n    code: 'def run(x): return x'"))
    assert "runs Python code, which this server does not do" in (await stoa("deploy", str(file), status=1)).replace(
        "\n", " "
    )
    file.write_text("workflows: {}")
    assert "0 workflows" in (await stoa("deploy", str(file), status=1)).replace("\n", " ")

"""`stoa apply`: a plan first, then exactly that; a second time nothing; what somebody changed is found."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.conftest import FIRST_KEY, Running
from tests.support.processes import ENVIRONMENT, STOA
from tests.support.terminal import Terminal

FILE = """
bases:
  - name: Travel rules
    description: What a trip may cost
    language: english
    retriever: {mode: hybrid, top_k: 5}
    sources:
      - name: site
        provider: website
        config: {url: "https://example.com/docs", depth_max: 2}
        schedule: 6h
tools:
  - name: weather
    type: http
    description: The weather of a city
    config:
      url: "https://example.com/weather/{city}"
      headers: {X-Token: "{{secret.token}}"}
      parameters: {type: object, properties: {city: {type: string}}}
    secrets: {token: "${WEATHER_TOKEN}"}
apps:
  - name: Travel desk
    description: Answers questions about travel
    agent:
      model: stoa-extractive
      instructions: You answer questions about travel.
      knowledge_bases: [Travel rules]
      tools: [weather]
"""


@pytest.fixture
def stoa(shared_server: Running) -> Terminal:
    return Terminal(shared_server)


async def test_from_nothing_to_drift_and_back(stoa: Terminal, shared_server: Running, tmp_path: Path) -> None:
    file = tmp_path / "stoa.yaml"
    file.write_text(FILE)
    secret = {"WEATHER_TOKEN": "s3cret"}
    assert "WEATHER_TOKEN from the environment" in await stoa("apply", str(file), status=2)
    planned = await stoa("apply", str(file), "--check", status=5, **secret)
    assert "4 to create, 0 to change, 0 as they are" in planned
    assert "nobody to ask" in await stoa("apply", str(file), status=2, **secret)
    assert await stoa("kb", "list", "--json") == "[]\n", "nothing was done"
    done = await stoa("apply", str(file), "--yes", **secret)
    assert done.count("created") == 4
    assert "s3cret" not in planned + done
    same = await stoa("apply", str(tmp_path), "--check", **secret)
    assert "0 to create, 0 to change, 4 as they are" in same
    await stoa("apply", str(file), **secret)

    base = json.loads(await stoa("kb", "show", "Travel rules", "--json"))
    app = json.loads(await stoa("apps", "show", "Travel desk", "--json"))
    run = json.loads(await stoa("apps", "run", "Travel desk", "Hello", "--json"))
    assert run["status"] == "completed"
    version = await shared_server.call(
        "GET", f"/v1/workflows/{app['workflow_id']}/versions/{app['workflow_version_id']}"
    )
    assert version["data"]["flow"]["agent"]["knowledge_bases"] == [base["id"]]

    (tool,) = json.loads(await stoa("tools", "list", "--json"))
    await shared_server.call("PATCH", f"/v1/tools/{tool['id']}", json={"approval": True, "description": "Other"})
    await shared_server.call("PUT", f"/v1/knowledgebases/{base['id']}", json={"retriever": {"top_k": 9}})
    drift = await stoa("apply", str(file), "--check", status=5, **secret)
    assert 'description: "Other" → "The weather of a city"' in drift
    assert "retriever.top_k: 9 → 5" in drift
    assert "approval" not in drift, "what the file leaves out is the server's"
    file.write_text(FILE.replace("You answer questions", "You answer short questions").replace("6h", "12h"))
    changed = await stoa("apply", str(file), "--yes", **secret)
    assert changed.count("changed") == 4
    assert json.loads(await stoa("apply", str(file), "--check", "--json", **secret))["differs"] is False
    assert len(json.loads(await stoa("apps", "deployments", "Travel desk", "--json"))) == 2
    await stoa("apps", "deploy", "Travel desk", "--version", "1")
    assert "short" in await stoa("apply", str(file), "--check", status=5, **secret), "a rollback is drift"
    await stoa("apply", str(file), "--yes", **secret)
    workflow = (await shared_server.call("GET", f"/v1/workflows/{app['workflow_id']}"))["data"]
    assert workflow["versions"] == 2, "a version that is there already is deployed, not released again"
    await stoa("tools", "create", _other(tmp_path))
    assert "In no file: tool other" in await stoa("apply", str(file), "--check", **secret)
    file.write_text(FILE.replace("type: http", "type: mcp"))
    assert "type cannot change; delete it first" in await stoa("apply", str(file), "--yes", status=1, **secret)


def _other(folder: Path) -> str:
    definition = {"name": "other", "type": "http", "description": "x", "config": {"url": "https://example.com"}}
    (folder / "other.json").write_text(json.dumps(definition))
    return str(folder / "other.json")


async def test_two_at_once_make_one(stoa: Terminal, shared_server: Running, tmp_path: Path) -> None:
    file = tmp_path / "bases.yaml"
    file.write_text("bases: [{name: Once}]")
    environment = {**ENVIRONMENT, "STOA_URL": shared_server.url, "STOA_KEY": FIRST_KEY}
    both = [
        await asyncio.create_subprocess_exec(
            *STOA, "apply", str(file), "--yes", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert await asyncio.gather(*(one.wait() for one in both)) == [0, 0]
    assert [one["name"] for one in json.loads(await stoa("kb", "list", "--json"))].count("Once") == 1
    await stoa("kb", "delete", "Once", "--yes")
    await stoa("apply", str(file), "--yes")
    assert "Once" in await stoa("kb", "list"), "what was deleted meanwhile is made anew"
    await stoa("kb", "create", "Once")
    assert "2 bases have this name" in await stoa("apply", str(file), "--yes", status=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bases: [{name: x}, {name: x}]", "two definitions of the base x"),
        ("bases:\n  - name: a\n    name: b", "the key 'name' comes twice"),
        ("bases: [{name: no}]", "has no name"),
        ("base: []", "'base' is none of bases, tools, apps"),
        ("- 1", "At its top stand".lower()),
        ("apps: [{name: a}]", "either an agent or a flow"),
        ("apps: [{name: a, agent: {}, publik: true}]", "'publik' of the app a"),
        ("bases: [", "is no YAML"),
        ("bases: {name: x}", "is a list of objects"),
    ],
)
async def test_files_that_cannot_be_applied(stoa: Terminal, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert said in await stoa("apply", str(tmp_path / "bad.yaml"), "--yes", status=2)


async def test_a_refusal_names_what_is_wrong(stoa: Terminal, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("bases: [{name: x, colour: red}]")
    assert "colour" in await stoa("apply", str(tmp_path / "x.yaml"), "--yes", status=1)

"""JSON schemas of strangers against a real server: they are refused, or their check is killed; nobody else notices."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.support.hostile_schemas import deep, doubling, recursive_branches
from tests.support.targets import Target

ANSWER_SECONDS_MAX = 20.0


def tool(schema: dict[str, Any], name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"value": schema, "url": {"type": "string"}}}
    return {
        "name": name,
        "type": "http",
        "description": "d",
        "config": {"url": "https://example.com/", "parameters": parameters},
    }


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
async def test_a_schema_that_stands_for_billions(target: Target, keyword: str) -> None:
    schema = doubling(40, keyword)
    assert len(json.dumps(schema)) < 3_000
    async with target.undisturbed(), target.node.client() as client, asyncio.timeout(ANSWER_SECONDS_MAX):
        definitions = schema.pop("$defs")
        hostile = tool(schema, f"bomb-{keyword.lower()}")
        hostile["config"]["parameters"]["$defs"] = definitions
        refused = await client.post("/v1/tools", json=hostile)
        assert refused.status_code == 400, refused.text
        assert "config.parameters" in refused.json()["error"]["details"]
        models = await client.get("/v1/router/models")
        agent = {"output_schema": {"$defs": definitions, **schema}}
        body = {"model_id": models.json()["data"][0]["id"], "agent": agent}
        refused = await client.post("/v1/conversations", json=body)
        assert refused.status_code == 400, refused.text
        assert "agent.output_schema" in refused.json()["error"]["details"]


async def test_an_answer_whose_check_never_ends(target: Target) -> None:
    """The run ends with an error that says so, within bounds; the check is killed."""
    answer = json.dumps(deep(60))
    async with target.undisturbed(), asyncio.timeout(120):
        conversation = await target.node.conversation(agent={"output_schema": recursive_branches()})
        script = f"[[script {json.dumps({'pieces': [answer]})}]]"
        async with target.node.client() as client:
            response = await client.post(
                f"/v3/conversations/{conversation}/messages",
                json={"content": script, "stream": False},
                timeout=httpx.Timeout(100),
            )
    run = response.json()["data"]
    assert run["status"] == "failed", run
    assert "takes too long" in run["error"]["message"], run["error"]


async def test_patterns_that_backtrack(target: Target) -> None:
    """Hundreds of expressions that each take their bound of steps."""
    schema = {"allOf": [{"pattern": rf"^(a|aa)+\1(?:{number})?$"} for number in range(200)]}
    answer = json.dumps("a" * 3_000 + "!")
    async with target.undisturbed(), asyncio.timeout(120):
        conversation = await target.node.conversation(agent={"output_schema": schema})
        script = f"[[script {json.dumps({'pieces': [answer]})}]]"
        async with target.node.client() as client:
            response = await client.post(
                f"/v3/conversations/{conversation}/messages",
                json={"content": script, "stream": False},
                timeout=httpx.Timeout(100),
            )
    assert response.json()["data"]["status"] == "failed", response.text

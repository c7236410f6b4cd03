"""Runs of a revoked key whose server is killed: whoever goes on with them calls nothing in the key's name."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.doubles import until
from tests.support.nodes import ToolServer, script, started
from tests.support.scripted_model import ScriptedServer

CALL = {"tool": {"name": "effect", "arguments": json.dumps({"n": "one", "wait": 60})}, "pieces": []}
AGAIN = {"tool": {"name": "effect", "arguments": json.dumps({"n": "two"})}, "pieces": []}
END = {"pieces": ["With what I have."]}


@pytest.mark.parametrize("idempotent", [True, False])
async def test_killed_during_a_call_and_revoked(dsn: str, tmp_path: Path, *, idempotent: bool) -> None:
    """The call that was under way is not made again, however safe that were; nobody is asked; no other is made."""
    async with (
        ScriptedServer() as upstream,
        ToolServer() as world,
        started([dsn], tmp_path / "nodes", upstream.url) as (node,),
    ):
        tool = world.tool("effect", **({"idempotent": True} if idempotent else {}))
        await node.call("POST", "/v1/tools", 201, json=tool)
        key = (await node.call("POST", "/v1/access-keys", 201, json={"name": "stolen"}))["data"]
        conversation = await node.conversation(agent={"tools": ["effect"]})
        body: dict[str, Any] = {"content": script(turns=[CALL, AGAIN, END]), "background": True}
        async with node.client() as client:
            headers = {"Authorization": f"Bearer {key['key']}"}
            sent = await client.post(f"/v3/conversations/{conversation}/messages", json=body, headers=headers)
        run_id = sent.json()["data"]["id"]
        await until(lambda: world.made)
        await node.call("DELETE", f"/v1/access-keys/{key['id']}")
        await node.kill()
        await node.start()
        run = await node.run(run_id, "completed", "failed", "paused")
        assert (run["status"], run["output"]) == ("completed", "With what I have."), run
        assert len(world.made) == 1
        failures = [one["data"]["error"] for one in await node.events(run_id) if one["type"].endswith("call.failed")]
        assert [error["code"] for error in failures] == ["key_revoked"] * len(failures)
        assert "Nobody knows whether this call was made" in failures[0]["message"]
        (line,) = (await node.call("GET", f"/v1/runs/{run_id}/tool-calls"))["data"]
        assert line["status"] == "unknown"
        assert "key_revoked" in str(line)

"""A server is killed while an MCP call is under way: the next one asks a person before it makes the call again, or
makes it again where that is safe."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.mcp_servers import Diary
from tests.support.processes import KEY, serve, url_of
from tests.support.scripted_model import ScriptedServer

BAD = Path(__file__).parents[1] / "support" / "bad_mcp.py"


WISH = '[[script {"pieces": [], "tool": {"name": "TOOL", "arguments": "{}"}}]]'
END = '[[script {"pieces": ["All ", "done."]}]]'
"""What the scripted model does next is what it reads last."""


async def status(client: httpx.AsyncClient, run_id: str, *wanted: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            run = (await client.get(f"/v1/runs/{run_id}")).json()["data"]
            if run["status"] in wanted:
                return run
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_kill_during_calls(room: Path) -> None:
    """One server promises that its tool only reads, the other nothing; neither answers before the kill."""
    home = room / "mcp"
    home.mkdir()
    config = home / "stoa.toml"
    settings = {"STOA_BOOTSTRAP_KEY": KEY, "OPENAI_API_KEY": "x"}
    headers = {"Authorization": f"Bearer {KEY}"}
    declare(config, once="waits", safe="readonly")
    async with ScriptedServer() as model:
        settings["OPENAI_BASE_URL"] = model.url
        async with (
            serve(home / "data", config=config, **settings) as (process, said),
            httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client,
        ):
            chosen = (await client.get("/v1/router/models")).json()["data"][0]["id"]
            runs = {name: await begun(client, chosen, name) for name in ("once", "safe")}
            async with asyncio.timeout(20):
                while not all(calls(home, name) for name in runs):
                    await asyncio.sleep(0.02)
            process.kill()
            await process.wait()
        declare(config, once="good", safe="good")
        async with (
            serve(home / "data", config=config, **settings) as (_, said),
            httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client,
        ):
            run = await status(client, runs["once"], "paused", "completed", "failed")
            assert run["status"] == "paused", run
            (request,) = run["input_requests"]
            assert "may already have been made" in request["prompt"]
            assert len(calls(home, "once")) == 1, "nothing is repeated unasked"
            answered = {"type": "approval", "data": {"request_id": request["id"], "approved": False, "feedback": END}}
            assert (await client.post(f"/v1/runs/{runs['once']}/input", json=answered)).status_code == 200
            for name, expected in (("once", ("unknown", 1)), ("safe", ("completed", 2))):
                assert (await status(client, runs[name], "completed", "failed"))["output"] == "All done."
                (line,) = (await client.get(f"/v1/runs/{runs[name]}/tool-calls")).json()["data"]
                assert (line["status"], len(calls(home, name))) == expected, line
                assert len(set(calls(home, name))) == 1, "a repeated call has the same key"
    # A program that hangs is not ended by the death of its server, which only closes its input.
    for line in Diary(home / "safe").lines():
        if line.startswith("child"):
            os.killpg(int(line.split()[-1]), signal.SIGKILL)


def declare(config: Path, **modes: str) -> None:
    tables: list[str] = []
    for name, mode in modes.items():
        args = json.dumps(["-S", "-E", str(BAD), mode, str(config.parent / name)])
        tables.append(
            f'[[mcp_servers]]\nname = "{name}"\ncommand = {json.dumps(sys.executable)}\n'
            f"args = {args}\nenv = {{SAYS = {json.dumps(END)}}}\n"
        )
    config.write_text("\n".join(tables))


def calls(home: Path, name: str) -> list[str]:
    return [line for line in Diary(home / name).lines() if line.startswith("call")]


async def begun(client: httpx.AsyncClient, model_id: str, name: str) -> str:
    tool = {"name": name, "type": "mcp", "description": "Things.", "config": {"server": name}, "timeout_seconds": 60}
    made = (await client.post("/v1/tools", json=tool)).json()["data"]
    assert [offer["idempotent"] for offer in made["offers"]] == [name == "safe"]
    conversation = (
        await client.post("/v1/conversations", json={"model_id": model_id, "agent": {"tools": [name]}})
    ).json()["data"]["id"]
    body = {"content": WISH.replace("TOOL", f"{name}__touch"), "background": True}
    return str((await client.post(f"/v3/conversations/{conversation}/messages", json=body)).json()["data"]["id"])

"""A server is killed while an MCP call is under way: the next one asks a person before it makes the call again, or makes it again where that is safe."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_process import KEY, serve, url_of
from tests.mcp_servers import Diary
from tests.scripted_model import ScriptedServer

BAD = Path(__file__).parents[1] / "bad_mcp.py"


WISH = '[[script {"pieces": [], "tool": {"name": "things__touch", "arguments": "{}"}}]]'
END = '[[script {"pieces": ["All ", "done."]}]]'
"""What the scripted model does next is what it reads last."""


async def status(client: httpx.AsyncClient, run_id: str, *wanted: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            run = (await client.get(f"/v1/runs/{run_id}")).json()["data"]
            if run["status"] in wanted:
                return run
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("hints", ["none", "readonly"])
@pytest.mark.timeout(120)
async def test_kill_during_a_call(room: Path, hints: str) -> None:
    home = room / f"mcp-{hints}"
    home.mkdir()
    config = home / "stoa.toml"
    diary = Diary(home / "diary")

    def declare(mode: str) -> None:
        args = json.dumps(["-S", "-E", str(BAD), mode, str(home / "diary")])
        config.write_text(f'[[mcp_servers]]\nname = "declared"\ncommand = {json.dumps(sys.executable)}\nargs = {args}\nenv = {{SAYS = {json.dumps(END)}}}\n')

    def calls() -> list[str]:
        return [line for line in diary.lines() if line.startswith("call")]

    async with ScriptedServer() as model:
        settings = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": model.url, "STOA_BOOTSTRAP_KEY": KEY}
        headers = {"Authorization": f"Bearer {KEY}"}
        declare("readonly" if hints == "readonly" else "waits")  # It never answers.
        async with (
            serve(home / "data", config=config, **settings) as (process, said), httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client
        ):
            tool = {"name": "things", "type": "mcp", "description": "Things.", "config": {"server": "declared"}, "timeout_seconds": 60}
            assert len((await client.post("/v1/tools", json=tool)).json()["data"]["offers"]) == 1
            chosen = (await client.get("/v1/router/models")).json()["data"][0]["id"]
            made = await client.post("/v1/conversations", json={"model_id": chosen, "agent": {"tools": ["things"]}})
            path = f"/v3/conversations/{made.json()['data']['id']}/messages"
            run_id = (await client.post(path, json={"content": WISH, "background": True})).json()["data"]["id"]
            async with asyncio.timeout(20):
                while not calls():
                    await asyncio.sleep(0.02)
            process.kill()
            await process.wait()
        declare("good")
        async with serve(home / "data", config=config, **settings) as (_, said), httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client:
            if hints == "none":
                run = await status(client, run_id, "paused", "completed", "failed")
                assert run["status"] == "paused", run
                (request,) = run["input_requests"]
                assert "may already have been made" in request["prompt"]
                assert len(calls()) == 1, "nothing is repeated unasked"
                answered = {"type": "approval", "data": {"request_id": request["id"], "approved": False, "feedback": END}}
                assert (await client.post(f"/v1/runs/{run_id}/input", json=answered)).status_code == 200
            assert (await status(client, run_id, "completed", "failed"))["output"] == "All done."
            (line,) = (await client.get(f"/v1/runs/{run_id}/tool-calls")).json()["data"]
            expected = ("unknown", 1) if hints == "none" else ("completed", 2)
            assert (line["status"], len(calls())) == expected, line
            assert len(set(calls())) == 1, "a repeated call has the same key"

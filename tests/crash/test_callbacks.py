"""A server is killed while it calls back: the next one sends the message again, with the same id. Beside it, the real
server speaks WebSocket."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from websockets.asyncio.client import connect

from tests.support.processes import KEY, serve, url_of
from tests.support.services import Service

FLOW = {"agent": {"model": "stoa-extractive"}}


async def deployed(client: httpx.AsyncClient) -> str:
    workflow = (await client.post("/v1/workflows", json={"name": "w", "flow": FLOW})).json()["data"]["id"]
    await client.post(f"/v1/workflows/{workflow}/release", json={"name": "v", "flow": FLOW})
    project = (await client.get("/v1/projects")).json()["data"][0]["id"]
    body = {"name": "App", "project_id": project, "workflow_id": workflow}
    return str((await client.post("/v1/apps", json=body)).json()["data"]["id"])


async def the_callback(client: httpx.AsyncClient, run_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            (one,) = (await client.get(f"/v1/runs/{run_id}/callbacks")).json()["data"]
            if one["status"] == status:
                return dict(one)
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_a_kill_during_a_callback(room: Path) -> None:
    home = room / "callbacks"
    home.mkdir()
    settings = {"STOA_BOOTSTRAP_KEY": KEY, "STOA_ALLOW_PRIVATE_ADDRESSES": "true"}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with Service.running() as receiver:
        body = {"input": {"input": "Hi"}, "execution_mode": "async", "callbacks": [{"url": f"{receiver.url}/hang"}]}
        async with (
            serve(home / "data", **settings) as (process, said),
            httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client,
        ):
            app = await deployed(client)
            secret = (await client.get(f"/v1/apps/{app}/signing-secret")).json()["data"]["secret"]
            async with connect(f"ws{url_of(said)[4:]}/apps/{app}/", additional_headers=headers) as socket:
                await socket.send(json.dumps({"input": {"input": "Hi"}}))
                message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                assert message["data"]["choices"][0]["delta"]["step"] in ("answer", "output")
            run_id = (await client.post(f"/apps/{app}/", json=body)).json()["id"]
            await receiver.until_asked(1)
            process.kill()
            await process.wait()
        receiver.willing = True
        async with (
            serve(home / "data", **settings) as (_, said),
            httpx.AsyncClient(base_url=url_of(said), headers=headers, timeout=30) as client,
        ):
            await receiver.until_asked(2)
            one = await the_callback(client, run_id, "delivered")
    ids = [headers["webhook-id"] for _, headers, _ in receiver.asked]
    assert ids == [one["webhook_id"]] * 2
    first, second = one["attempts"]
    assert "ended_at" not in first, "whether it arrived is not known"
    assert second["status_code"] == 200
    _, headers, sent = receiver.asked[1]
    assert Webhook(secret).verify(sent, headers)["data"]["id"] == run_id
    assert sent == receiver.asked[0][2]

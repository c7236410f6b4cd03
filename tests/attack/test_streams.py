"""Event streams against those who open too many, or who may no longer read them."""

import asyncio
import json
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.support.running import NO_AUTHORITIES
from tests.support.targets import Target

LONG = {"pieces": [f"w{number} " for number in range(2_000)], "delay": 0.05}
SILENT = {"pieces": ["first ", "last"], "delay": 120}


async def made_key(target: Target) -> tuple[str, str]:
    made = (await target.node.call("POST", "/v1/access-keys", 201, json={"name": "reader"}))["data"]
    return made["id"], made["key"]


@pytest.mark.parametrize("script", [LONG, SILENT], ids=["talking", "silent"])
async def test_a_revoked_key_ends_its_streams_with_a_comment(target: Target, script: dict[str, object]) -> None:
    """Within 15 seconds, whether the stream has something to say or not; the run goes on, and the owner's stream
    too."""
    conversation = await target.node.conversation()
    content = f"[[script {json.dumps(script)}]]"
    run = (
        await target.node.call(
            "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": content, "background": True}
        )
    )["data"]
    key_id, secret = await made_key(target)
    async with (
        httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=target.node.url, timeout=30) as stranger,
        target.node.client() as owner,
    ):
        async with (
            stranger.stream(
                "GET", f"/v1/runs/{run['id']}/stream", headers={"Authorization": f"Bearer {secret}"}
            ) as seen,
            owner.stream("GET", f"/v1/runs/{run['id']}/stream") as mine,
        ):
            assert seen.status_code == mine.status_code == 200
            await target.node.call("DELETE", f"/v1/access-keys/{key_id}")
            async with asyncio.timeout(15):
                lines = [line async for line in seen.aiter_lines() if line]
            assert lines[-1].startswith(": this stream has ended: its access key was revoked"), lines[-3:]
            async for line in mine.aiter_lines():
                if line.startswith("data:"):
                    break
        again = await stranger.get(f"/v1/runs/{run['id']}/stream", headers={"Authorization": f"Bearer {secret}"})
        assert again.status_code == 401
    assert (await target.node.call("GET", f"/v1/runs/{run['id']}"))["data"]["status"] == "started"
    await target.node.call("POST", f"/v1/runs/{run['id']}/cancel")


async def test_one_key_has_so_many_streams(target: Target) -> None:
    """The next is 429 before anything is started; another key has its own."""
    script = f"[[script {json.dumps(LONG)}]]"
    conversation = await target.node.conversation()
    run = (
        await target.node.call(
            "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": script, "background": True}
        )
    )["data"]
    _, other = await made_key(target)
    path = f"/v1/runs/{run['id']}/stream"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(target.node.client())
        reading = []
        for _ in range(20):
            opened = await stack.enter_async_context(client.stream("GET", path))
            reading.append(opened.aiter_bytes())  # Kept: a stream that nobody reads any more is closed.
            await anext(reading[-1])
        refused = await client.get(path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        fresh = await target.node.conversation()
        sent = await client.post(f"/v3/conversations/{fresh}/messages", json={"content": "Hi"})
        assert sent.status_code == 429
        kept = (await target.node.call("GET", f"/v1/conversations/{fresh}"))["data"]
        assert kept["message_count"] == 0, "a refused stream starts no run"
        async with client.stream("GET", path, headers={"Authorization": f"Bearer {other}"}) as theirs:
            assert theirs.status_code == 200
    await target.node.call("POST", f"/v1/runs/{run['id']}/cancel")

"""Keys that make keys, and their end: no key outlives the one that made it, and the last manager stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.doubles import ScriptedModel
from tests.support.running import FIRST_KEY, Running, serving


async def make(running: Running, by: str = FIRST_KEY, status: int = 201, **fields: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {by}"}
    answer = await running.call("POST", "/v1/access-keys", status, json={"name": "k", **fields}, headers=headers)
    return dict(answer["data"] if status == 201 else answer["error"])


async def works(running: Running, key: str) -> bool:
    headers = {"Authorization": f"Bearer {key}"}
    return (await running.client.get("/v1/projects", headers=headers)).status_code == 200


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def test_a_key_never_outlives_the_one_that_made_it(shared_server: Running) -> None:
    end = soon(3600)
    parent = await make(shared_server, expires_at=end)
    child = await make(shared_server, parent["key"])
    assert child["expires_at"] == parent["expires_at"]
    refused = await make(shared_server, parent["key"], 400, expires_at=soon(7200))
    assert list(refused["details"]) == ["expires_at"]
    earlier = await make(shared_server, parent["key"], expires_at=soon(60))
    assert earlier["expires_at"] < parent["expires_at"]


async def test_revoking_a_key_can_take_along_what_it_made(running: Running) -> None:
    parent = await make(running, name="parent")
    child = await make(running, parent["key"], name="child")
    grandchild = await make(running, child["key"], name="grandchild")
    stranger = await make(running, name="stranger")
    path = f"/v1/access-keys/{parent['id']}?cascade=true"
    shown = await running.call("DELETE", f"{path}&dry_run=true")
    assert [one["name"] for one in shown["would_revoke"]] == ["parent", "child", "grandchild"]
    assert shown["message"] == "ok"
    assert await works(running, grandchild["key"])
    done = await running.call("DELETE", path)
    assert done["message"] == "deleted"
    assert {one["id"] for one in done["revoked"]} == {parent["id"], child["id"], grandchild["id"]}
    for gone in (parent, child, grandchild):
        assert not await works(running, gone["key"])
    assert await works(running, stranger["key"])
    await running.call("DELETE", path, 404)


async def test_without_cascade_the_children_stay(running: Running) -> None:
    parent = await make(running)
    child = await make(running, parent["key"])
    await running.call("DELETE", f"/v1/access-keys/{parent['id']}")
    assert await works(running, child["key"])


async def test_the_last_key_that_can_manage_keys_stays(running: Running) -> None:
    [first] = (await running.call("GET", "/v1/access-keys"))["data"]
    project = (await running.call("GET", "/v1/projects"))["data"][0]["id"]
    await make(running, name="reader", permissions=["access:read"])
    await make(running, name="of a project", project_id=project)
    refused = await running.call("DELETE", f"/v1/access-keys/{first['id']}?cascade=true", 409)
    assert "access:write" in refused["error"]["message"]
    assert len((await running.call("GET", "/v1/access-keys"))["data"]) == 3
    other = await make(running, name="manager", permissions=["access:write", "access:read"])
    await running.call("DELETE", f"/v1/access-keys/{first['id']}")
    assert await works(running, other["key"])


async def test_two_managers_cannot_revoke_each_other_at_once(running: Running) -> None:
    [first] = (await running.call("GET", "/v1/access-keys"))["data"]
    other = await make(running, name="other")
    headers = {"Authorization": f"Bearer {other['key']}"}
    async with asyncio.timeout(30):
        answers = await asyncio.gather(
            running.client.delete(f"/v1/access-keys/{other['id']}"),
            running.client.delete(f"/v1/access-keys/{first['id']}", headers=headers),
        )
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])


async def test_a_key_that_is_being_revoked_makes_no_more_keys(running: Running) -> None:
    parent = await make(running)
    headers = {"Authorization": f"Bearer {parent['key']}"}

    async def more() -> list[httpx.Response]:
        return [await running.client.post("/v1/access-keys", json={"name": "late"}, headers=headers) for _ in range(12)]

    async with asyncio.timeout(60):
        lots = await asyncio.gather(
            more(), more(), running.client.delete(f"/v1/access-keys/{parent['id']}?cascade=true")
        )
    assert lots[2].status_code == 200
    for response in (*lots[0], *lots[1]):
        assert response.status_code in (201, 401), response.text
        if response.status_code == 201:
            assert not await works(running, response.json()["data"]["key"])


@pytest.mark.parametrize("revoked", [True, False])
async def test_a_first_key_that_was_revoked_stays_revoked_over_restarts(
    dsn: str, tmp_path: Path, revoked: bool
) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as running:
        [first] = (await running.call("GET", "/v1/access-keys"))["data"]
        other = await make(running, name="other")
        if revoked:
            await running.call("DELETE", f"/v1/access-keys/{first['id']}")
    async with serving(dsn, tmp_path, ScriptedModel()) as running:
        assert await works(running, FIRST_KEY) is not revoked
        assert await works(running, other["key"])

"""Keys that make keys, and their end: no key outlives the one that made it, and the last manager stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.support.apps import deployed
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


async def test_revoking_a_key_can_take_along_what_it_made(shared_server: Running) -> None:
    parent = await make(shared_server, name="parent")
    child = await make(shared_server, parent["key"], name="child")
    grandchild = await make(shared_server, child["key"], name="grandchild")
    stranger = await make(shared_server, name="stranger")
    path = f"/v1/access-keys/{parent['id']}?cascade=true"
    shown = await shared_server.call("DELETE", f"{path}&dry_run=true")
    assert [one["name"] for one in shown["would_revoke"]] == ["parent", "child", "grandchild"]
    assert shown["message"] == "ok"
    assert await works(shared_server, grandchild["key"])
    done = await shared_server.call("DELETE", path)
    assert done["message"] == "deleted"
    assert {one["id"] for one in done["revoked"]} == {parent["id"], child["id"], grandchild["id"]}
    for gone in (parent, child, grandchild):
        assert not await works(shared_server, gone["key"])
    assert await works(shared_server, stranger["key"])
    await shared_server.call("DELETE", path, 404)


async def test_without_cascade_the_children_stay(shared_server: Running) -> None:
    parent = await make(shared_server)
    child = await make(shared_server, parent["key"])
    await shared_server.call("DELETE", f"/v1/access-keys/{parent['id']}")
    assert await works(shared_server, child["key"])


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


async def test_a_key_that_is_being_revoked_makes_no_more_keys(shared_server: Running) -> None:
    parent = await make(shared_server)
    headers = {"Authorization": f"Bearer {parent['key']}"}

    async def more() -> list[httpx.Response]:
        return [
            await shared_server.client.post("/v1/access-keys", json={"name": "late"}, headers=headers)
            for _ in range(12)
        ]

    async with asyncio.timeout(60):
        lots = await asyncio.gather(
            more(), more(), shared_server.client.delete(f"/v1/access-keys/{parent['id']}?cascade=true")
        )
    assert lots[2].status_code == 200
    for response in (*lots[0], *lots[1]):
        assert response.status_code in (201, 401), response.text
        if response.status_code == 201:
            assert not await works(shared_server, response.json()["data"]["key"])


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


# --- changed, rotated, used -----------------------------------------------------------------------------------------
async def test_a_key_is_changed_at_once_and_never_to_more_than_its_maker_has(shared_server: Running) -> None:
    server = shared_server
    parent = await make(server, permissions=["access:write", "access:read", "apps:read"])
    child = await make(server, parent["key"], permissions=["apps:read", "access:read"])
    path = f"/v1/access-keys/{child['id']}"
    changed = (await server.call("PATCH", path, json={"name": "renamed", "rate_limit": 7}))["data"]
    assert (changed["name"], changed["rate_limit"], changed["permissions"]) == ("renamed", 7, child["permissions"])
    answer = await server.client.get("/v1/apps?project_id=" + child["id"], headers=bearer(child["key"]))
    assert answer.headers["ratelimit-limit"] == "7"
    assert "rate_limit" not in (await server.call("PATCH", path, json={"rate_limit": None}))["data"]
    # More than its maker has is refused, whoever asks; and more than the caller has.
    for by in (FIRST_KEY, parent["key"]):
        refused = await server.call("PATCH", path, 403, json={"permissions": ["tools:write"]}, headers=bearer(by))
        assert "tools:write" in refused["error"]["message"]
        await server.call("PATCH", path, 403, json={"permissions": None}, headers=bearer(by))
    await server.call("PATCH", path, 400, json={"expires_at": "2020-01-01T00:00:00Z"})
    await server.call("PATCH", path, 400, json={"permissions": ["no:such"]})
    strong = await make(server)
    await server.call(
        "PATCH", f"/v1/access-keys/{strong['id']}", 403, json={"name": "x"}, headers=bearer(parent["key"])
    )
    ended = await server.call("PATCH", path, json={"expires_at": soon(0.2)})
    await asyncio.sleep(0.3)
    assert not await works(server, child["key"])
    assert ended["data"]["expires_at"]


async def test_a_change_says_before_whom_it_would_take_access_from(shared_server: Running) -> None:
    server = shared_server
    parent = await make(server, name="parent")
    child = await make(server, parent["key"], name="child", permissions=["apps:run", "apps:read", "apps:write"])
    await make(server, parent["key"], name="reader", permissions=["apps:read"])
    app = await deployed(server)
    schedule = {"name": "n", "provider": "schedule", "config": {"timezone": "UTC", "schedule": "0 0 1 1 *"}}
    triggers = f"/v1/apps/{app['id']}/triggers"
    for key in (parent, child):
        made = (await server.call("POST", triggers, json=schedule, headers=bearer(key["key"])))["data"]
        await server.call("POST", f"{triggers}/{made['id']}/activate", headers=bearer(key["key"]))
    path, less = f"/v1/access-keys/{parent['id']}", {"permissions": ["access:write", "apps:read"]}
    shown = (await server.call("POST", f"{path}/preview?cascade=true", json=less))["data"]
    assert [one["name"] for one in shown["keys"]] == ["parent", "child"]
    assert shown["keys"][1]["loses"] == ["apps:run", "apps:write"]
    assert len(shown["triggers"]) == 2
    assert len((await server.call("POST", f"{path}/preview", json=less))["data"]["triggers"]) == 1
    assert "permissions" not in (await server.call("GET", path))["data"], "nothing has changed"
    dry = await server.call("DELETE", f"{path}?cascade=true&dry_run=true")
    assert (len(dry["would_revoke"]), len(dry["triggers"])) == (3, 2)
    await server.call("PATCH", f"{path}?cascade=true", json=less)
    assert (await server.call("GET", f"/v1/access-keys/{child['id']}"))["data"]["permissions"] == ["apps:read"]


async def test_the_last_manager_can_neither_be_narrowed_nor_ended(running: Running) -> None:
    first = (await running.call("GET", "/v1/access-keys"))["data"][0]
    path = f"/v1/access-keys/{first['id']}"
    await running.call("PATCH", path, 409, json={"permissions": ["apps:read"]})
    await running.call("PATCH", path, 409, json={"expires_at": soon(3600)})
    await running.call("PATCH", path, json={"name": "Still the first"})
    other = await make(running, name="other manager")
    await running.call("PATCH", path, json={"expires_at": soon(3600)})
    await running.call("PATCH", f"/v1/access-keys/{other['id']}", 409, json={"expires_at": soon(1800)})


async def test_rotation_overlaps_and_the_successor_takes_its_place(shared_server: Running) -> None:
    server = shared_server
    old = await make(
        server, name="service", rate_limit=500, permissions=["apps:run", "apps:read", "apps:write", "access:read"]
    )
    app = await deployed(server)
    schedule = {"name": "n", "provider": "schedule", "config": {"timezone": "UTC", "schedule": "0 0 1 1 *"}}
    trigger = (await server.call("POST", f"/v1/apps/{app['id']}/triggers", json=schedule, headers=bearer(old["key"])))[
        "data"
    ]
    await server.call("POST", f"/v1/apps/{app['id']}/triggers/{trigger['id']}/activate", headers=bearer(old["key"]))
    path = f"/v1/access-keys/{old['id']}"
    key = {"Idempotency-Key": "rotate-once"}
    made = (await server.call("POST", f"{path}/rotate", 201, json={"overlap_seconds": 60}, headers=key))["data"]
    again = (await server.call("POST", f"{path}/rotate", 201, json={"overlap_seconds": 60}, headers=key))["data"]
    assert (again["id"], "key" in again) == (made["id"], False)
    assert (made["name"], made["rate_limit"], made["permissions"]) == ("service", 500, old["permissions"])
    shown = (await server.call("GET", path))["data"]
    assert shown["successor_id"] == made["id"]
    assert shown["expires_at"]
    assert await works(server, old["key"])
    assert await works(server, made["key"])
    await server.call("POST", f"{path}/rotate", 409, json={})
    await server.call("PATCH", path, 409, json={"name": "x"})
    gone = await server.call("DELETE", path)
    assert "triggers" not in gone, "they run in the successor's name"
    assert not await works(server, old["key"])
    dry = await server.call("DELETE", f"/v1/access-keys/{made['id']}?dry_run=true")
    assert [one["id"] for one in dry["triggers"]] == [trigger["id"]]
    leaked = await make(server)
    at_once = (await server.call("POST", f"/v1/access-keys/{leaked['id']}/rotate", 201, json={"overlap_seconds": 0}))[
        "data"
    ]
    assert not await works(server, leaked["key"])
    assert await works(server, at_once["key"])


async def test_of_many_rotations_at_once_one_counts(shared_server: Running) -> None:
    old = await make(shared_server)
    path = f"/v1/access-keys/{old['id']}/rotate"
    answers = await asyncio.gather(*(shared_server.client.post(path, json={}) for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [201] + [409] * 7


async def test_who_uses_a_key_is_shown_and_no_request_writes_it(shared_server: Running) -> None:
    server = shared_server
    used = await make(server, name="used")
    assert "last_used_at" not in (await server.call("GET", f"/v1/access-keys/{used['id']}"))["data"]
    for client in ("sync/1", "sync/1", "report/2"):
        await server.call("GET", "/v1/projects", headers={**bearer(used["key"]), "User-Agent": client})
    connection = await asyncpg.connect(server.dsn)
    assert await connection.fetchval("SELECT count(*) FROM key_uses WHERE key_id = $1", UUID(used["id"])) == 0
    shown = (await server.call("GET", f"/v1/access-keys/{used['id']}"))["data"]
    assert [one["client"] for one in shown["uses"]] == ["report/2", "sync/1"]
    assert {one["address"] for one in shown["uses"]} == {"127.0.0.1"}
    assert shown["last_used_at"] == shown["uses"][0]["last_at"]
    for number in range(30):
        await server.call("GET", "/v1/projects", headers={**bearer(used["key"]), "User-Agent": f"many/{number}"})
    listed = (await server.call("GET", "/v1/access-keys"))["data"]
    assert next(one for one in listed if one["id"] == used["id"])["last_used_at"] > shown["last_used_at"]
    assert await connection.fetchval("SELECT count(*) FROM key_uses WHERE key_id = $1", UUID(used["id"])) == 20
    await connection.close()
    await server.call("DELETE", f"/v1/access-keys/{used['id']}")
    await server.call("GET", f"/v1/access-keys/{used['id']}", 404)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}

"""Triggers over HTTP: made, previewed, activated, fired, stopped; schedules and webhooks."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from stoa.kernel.clock import SystemClock
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.running import NO_AUTHORITIES


class SetClock(SystemClock):
    """The wall clock is where the test puts it."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 28, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture(scope="module")
async def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, clock: SetClock) -> AsyncIterator[Running]:
    name = f"triggers_http_{uuid4().hex}"
    async with serving(await cluster.copy(name), room / name, ScriptedModel(), clock=clock) as running:
        yield running


@pytest.fixture
async def app(server: Running, clock: SetClock) -> str:
    clock.moment = datetime(2026, 3, 28, 12, tzinfo=UTC)
    return str((await deployed(server))["id"])


async def create(server: Running, app_id: str, status: int = 200, **fields: Any) -> Any:
    body = {"name": "nightly", "provider": "schedule", **fields}
    answer = await server.call("POST", f"/v1/apps/{app_id}/triggers", status, json=body)
    return answer["data"] if status == 200 else answer["error"]


async def active(server: Running, app_id: str, **fields: Any) -> Any:
    made = await create(server, app_id, **fields)
    moved = await server.call("POST", f"/v1/apps/{app_id}/triggers/{made['id']}/activate")
    return {**made, **moved["data"]}


async def events(server: Running, trigger: Any, count: int = 1, *statuses: str) -> list[Any]:
    """The log, once that many events have ended."""
    path = f"/v1/apps/{trigger['app_id']}/triggers/{trigger['id']}/events"
    database = await asyncpg.connect(server.dsn)
    await database.execute("SELECT pg_notify('stoa_triggers', '')")  # The clock was moved: no need to wait for a poll.
    await database.close()
    async with asyncio.timeout(20):
        while True:
            found = (await server.call("GET", path))["data"]
            if sum(one["status"] in (statuses or ("accepted", "failed", "skipped")) for one in found) >= count:
                return list(found)
            await asyncio.sleep(0.02)


BERLIN = {"timezone": "Europe/Berlin", "schedule": "30 2 * * *"}
PAST, LATER = "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"
SAY = {"selector": {"input": "Write the report.", "at": "$.local_time"}}


async def test_a_schedule_fires_in_the_skipped_hour_and_its_run_is_the_apps(
    server: Running, app: str, clock: SetClock
) -> None:
    draft = await create(server, app, config=BERLIN, input_transformer=SAY)
    assert (draft["status"], draft["config"]) == ("draft", {**BERLIN, "catch_up": "last"})
    assert "webhook_url" not in draft
    url = f"/v1/apps/{app}/triggers/{draft['id']}"
    times = (await server.call("GET", f"{url}/next?count=2"))["data"]
    assert [one["local_time"] for one in times] == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    assert (await server.call("POST", f"{url}/activate"))["data"]["next_at"] == "2026-03-29T01:00:00.000Z"
    clock.moment = datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC)
    event = (await events(server, draft))[0]
    assert (event["status"], event["due_at"]) == ("accepted", "2026-03-29T01:00:00.000Z")
    assert event["payload"]["local_time"] == "2026-03-29T03:00:00+02:00"
    assert (await server.call("GET", f"{url}/events/{event['id']}"))["data"] == event
    run = (await server.call("GET", f"/apps/{app}/v1/runs/{event['run_id']}"))["data"]
    assert run["input"] == {"input": "Write the report.", "at": "2026-03-29T03:00:00+02:00"}
    trigger = (await server.call("GET", url))["data"]
    assert (trigger["status"], trigger["next_at"]) == ("active", "2026-03-30T00:30:00.000Z")
    assert [one["id"] for one in (await server.call("GET", f"/v1/apps/{app}/triggers"))["data"]] == [draft["id"]]
    by_hand = (await server.call("POST", f"{url}/run", headers={"Idempotency-Key": "once"}))["data"]
    again = (await server.call("POST", f"{url}/run", headers={"Idempotency-Key": "once"}))["data"]
    assert (by_hand["source"], by_hand["id"]) == ("manual", again["id"])
    assert len(await events(server, draft, 2)) == 2


async def test_once_at_a_time_then_expired(server: Running, app: str, clock: SetClock) -> None:
    config = {"timezone": "Europe/Berlin", "run_at": "2026-03-28T14:00:00"}
    trigger = await active(server, app, config=config)
    assert trigger["config"]["run_at"] == "2026-03-28T13:00:00Z"
    clock.moment = datetime(2026, 3, 28, 15, tzinfo=UTC)
    assert len(await events(server, trigger)) == 1
    url = f"/v1/apps/{app}/triggers/{trigger['id']}"
    assert (await server.call("GET", url))["data"]["status"] == "expired"
    assert "expired" in (await server.call("POST", f"{url}/activate", 400))["error"]["message"].lower()
    await server.call("POST", f"{url}/deactivate", 400)
    await server.call("POST", f"{url}/run", 400)
    later = {"config": {"timezone": "UTC", "run_at": "2026-03-28T16:00:00Z"}}
    assert (await server.call("PUT", url, json=later))["data"]["status"] == "inactive"
    assert (await server.call("POST", f"{url}/activate"))["data"]["status"] == "active"
    ends = {"timezone": "UTC", "schedule": "0 * * * *", "expires_at": "2026-03-28T17:30:00Z"}
    ending = await active(server, app, config=ends)
    clock.moment = datetime(2026, 3, 28, 18, tzinfo=UTC)
    log = await events(server, ending, 2)
    assert sorted(one["status"] for one in log) == ["accepted", "skipped"]
    ended = (await server.call("GET", f"/v1/apps/{app}/triggers/{ending['id']}"))["data"]
    assert (ended["status"], "next_at" in ended) == ("expired", False)


@pytest.mark.parametrize(("catch_up", "accepted", "missed"), [("skip", 0, 5), ("last", 1, 4), ("all", 5, 0)])
async def test_after_downtime(
    server: Running, app: str, clock: SetClock, catch_up: str, accepted: int, missed: int
) -> None:
    config = {"timezone": "UTC", "schedule": "0 * * * *", "catch_up": catch_up}
    trigger = await active(server, app, config=config)
    clock.moment += timedelta(hours=5, minutes=20)
    log = await events(server, trigger, accepted + bool(missed))
    assert sum(one["status"] == "accepted" for one in log) == accepted
    assert sum(one["payload"]["missed"] for one in log if one["status"] == "skipped") == missed


async def test_deactivating_stops_it_and_what_passed_meanwhile_is_not_made_up_for(
    server: Running, app: str, clock: SetClock
) -> None:
    config = {"timezone": "UTC", "schedule": "0 * * * *", "catch_up": "all"}
    trigger = await active(server, app, config=config)
    url = f"/v1/apps/{app}/triggers/{trigger['id']}"
    stopped = (await server.call("POST", f"{url}/deactivate"))["data"]
    assert (stopped["status"], "next_at" in stopped) == ("inactive", False)
    assert "inactive" in (await server.call("POST", f"{url}/run", 400))["error"]["message"]
    clock.moment += timedelta(hours=5)
    assert (await server.call("POST", f"{url}/activate"))["data"]["next_at"] == "2026-03-28T18:00:00.000Z"
    clock.moment += timedelta(hours=1, seconds=1)
    log = await events(server, trigger)
    assert [one["due_at"] for one in log] == ["2026-03-28T18:00:00.000Z"]


async def test_a_trigger_runs_as_who_activated_it(server: Running, app: str, clock: SetClock) -> None:
    """It runs in the name of who activated it, and stops with them."""
    made = (await server.call("POST", "/v1/access-keys", 201, json={"name": "maker"}))["data"]
    maker = {"Authorization": f"Bearer {made['key']}"}
    trigger = await create(server, app, config={"timezone": "UTC", "schedule": "* * * * *"})
    url = f"/v1/apps/{app}/triggers/{trigger['id']}"
    await server.call("POST", f"{url}/activate", headers=maker)
    await server.call("DELETE", f"/v1/access-keys/{made['id']}")
    clock.moment += timedelta(minutes=1)
    event = (await events(server, trigger))[0]
    assert (event["status"], event["error"]["code"]) == ("failed", "actor_revoked")
    stopped = (await server.call("GET", url))["data"]
    assert (stopped["status"], stopped["problem"]["code"]) == ("inactive", "actor_revoked")
    taken = (await server.call("POST", f"{url}/activate"))["data"]
    assert (taken["status"], "problem" in taken) == ("active", False)
    clock.moment += timedelta(minutes=1)
    assert len(await events(server, trigger, 1, "accepted")) == 2


async def test_who_may_not_run_the_app_makes_no_trigger_that_does(server: Running, app: str) -> None:
    body = {"name": "writer", "permissions": ["apps:write", "apps:read"]}
    made = (await server.call("POST", "/v1/access-keys", 201, json=body))["data"]
    writer = {"Authorization": f"Bearer {made['key']}"}
    wanted = {"name": "n", "provider": "schedule", "config": BERLIN}
    refused = await server.call("POST", f"/v1/apps/{app}/triggers", 403, json=wanted, headers=writer)
    assert "apps:run" in refused["error"]["message"]
    trigger = await create(server, app, config=BERLIN)
    url = f"/v1/apps/{app}/triggers/{trigger['id']}"
    await server.call("POST", f"{url}/activate", 403, headers=writer)
    await server.call("PUT", url, 403, json={"config": BERLIN}, headers=writer)
    await server.call("POST", f"{url}/run", 403, headers=writer)


async def test_an_archived_app_takes_no_firings_until_it_is_restored(
    server: Running, app: str, clock: SetClock
) -> None:
    trigger = await active(server, app, config={"timezone": "UTC", "schedule": "* * * * *"})
    await server.call("POST", f"/v1/apps/{app}/archive")
    clock.moment += timedelta(minutes=1)
    event = (await events(server, trigger))[0]
    assert (event["status"], event["error"]["code"]) == ("failed", "app_archived")
    await server.call("POST", f"/v1/apps/{app}/restore")
    clock.moment += timedelta(minutes=1)
    await events(server, trigger, 1, "accepted")
    await server.call("DELETE", f"/v1/apps/{app}")
    await server.call("GET", f"/v1/apps/{app}/triggers/{trigger['id']}", 404)


async def test_a_webhook_takes_each_delivery_once(server: Running, app: str) -> None:
    transformer = {"selector": {"input": "$.issue.title"}}
    hook = await create(server, app, provider="webhook", config={}, input_transformer=transformer)
    path = hook["webhook_url"].removeprefix(server.url)
    delivery: dict[str, Any] = {"json": {"issue": {"title": "It is broken"}}, "headers": {"X-GitHub-Delivery": "d-1"}}
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url) as sender:
        assert "activate" in (await sender.post(path, **delivery)).json()["error"]["message"]  # A draft.
        await server.call("POST", f"/v1/apps/{app}/triggers/{hook['id']}/activate")
        answers = await asyncio.gather(*(sender.post(path, **delivery) for _ in range(20)))
        assert sorted(one.status_code for one in answers) == [200] * 19 + [202]
        assert len({one.json()["data"]["id"] for one in answers}) == 1
        event = (await events(server, hook))[0]
        assert (event["status"], event["delivery_id"]) == ("accepted", "d-1")
        run = (await server.call("GET", f"/apps/{app}/v1/runs/{event['run_id']}"))["data"]
        assert run["input"] == {"input": "It is broken"}
        without = await sender.post(path, content=b"")
        assert without.status_code == 202
        failed = next(one for one in await events(server, hook, 2) if one["id"] == without.json()["data"]["id"])
        assert (failed["status"], failed["error"]["code"]) == ("failed", "input_transformer")
        form = await sender.post(path, data={"text": "Hi"})
        assert form.json()["data"]["payload"] == {"text": "Hi"}
        assert (await sender.post(path, json=[1, 2])).json()["data"]["payload"] == {"body": [1, 2]}
        for bad, status in (
            ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
            ({"content": b'{"a": "\\u0000"}', "headers": {"Content-Type": "application/json"}}, 400),
            ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
            ({"content": b'{"a": "' + b"x" * 2**20 + b'"}', "headers": {"Content-Type": "application/json"}}, 413),
        ):
            assert (await sender.post(path, **bad)).status_code == status, bad  # type: ignore[arg-type]
        assert (await sender.get(path)).status_code == 405
        assert (await sender.post(path[:-1] + ("a" if path[-1] != "a" else "b"), json={})).status_code == 404
        assert (await sender.post("/v1/hooks/nothing", json={})).status_code == 404
        renewed = (await server.call("POST", f"/v1/apps/{app}/triggers/{hook['id']}/renew-url"))["data"]
        assert (await sender.post(path, json={})).status_code == 404
        moved = renewed["webhook_url"].removeprefix(server.url)
        assert (await sender.post(moved, json={"issue": {"title": "t"}})).status_code == 202
    await server.call("GET", f"/v1/apps/{app}/triggers/{hook['id']}/next", 400)
    await server.call("POST", f"/v1/apps/{app}/triggers/{hook['id']}/run", 400)


async def test_a_signed_webhook_accepts_valid_signatures_only(server: Running, app: str) -> None:
    secret = "a secret of more than sixteen"
    signature = {"scheme": "hmac-sha256", "secret": secret}
    hook = await active(server, app, provider="webhook", config={"signature": signature})
    assert hook["config"] == {"signature": {"scheme": "hmac-sha256", "header": "X-Hub-Signature-256"}}
    body = b'{"input": "Hi"}'
    made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    url = f"/v1/apps/{app}/triggers/{hook['id']}"
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, headers={"Content-Type": "application/json"}) as sender:
        signed = {"X-Hub-Signature-256": f"sha256={made}"}
        assert (await sender.post(hook["webhook_url"], content=body, headers=signed)).status_code == 202
        assert (await sender.post(hook["webhook_url"], content=body + b" ", headers=signed)).status_code == 401
        assert (await sender.post(hook["webhook_url"], content=body)).status_code == 401
        # A change that sends no secret keeps it; one without a signature drops it.
        kept = {"config": {"signature": {"scheme": "hmac-sha256", "header": "X-Sig"}}}
        await server.call("PUT", url, json=kept)
        assert (await sender.post(hook["webhook_url"], content=body, headers={"X-Sig": made})).status_code == 202
        await server.call("PUT", url, json={"config": {}})
        assert (await sender.post(hook["webhook_url"], content=body)).status_code == 202
    refused = await server.call("PUT", url, 400, json=kept)
    assert "config.signature.secret" in refused["error"]["details"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": None}, "provider"),
        ({"provider": "pipedream"}, "provider"),
        ({"config": {"schedule": "0 9 * * *"}}, "config.timezone"),
        ({"config": {"timezone": "local", "schedule": "0 9 * * *"}}, "config.timezone"),
        ({"config": {"timezone": "UTC"}}, "config"),
        ({"config": {"timezone": "UTC", "schedule": "0 9 * * *", "run_at": LATER}}, "config"),
        ({"config": {"timezone": "UTC", "run_at": LATER, "expires_at": LATER}}, "config.expires_at"),
        ({"config": {"timezone": "UTC", "run_at": PAST}}, "config.run_at"),
        ({"config": {"timezone": "UTC", "schedule": "0 9 * * *", "expires_at": PAST}}, "config.expires_at"),
        ({"config": {"timezone": "UTC", "schedule": "0 0 9 * * *"}}, "config.schedule"),
        ({"config": {"timezone": "UTC", "schedule": "0 0 30 2 *"}}, "config.schedule"),
        ({"input_transformer": {"selector": {"input": "$.a["}}}, "input_transformer.selector"),
        ({"name": " "}, "name"),
        ({"provider": "webhook", "config": {"signature": {"scheme": "standard"}}}, "config.signature.secret"),
        ({"provider": "webhook", "config": {"delivery_header": "X: y"}}, "config.delivery_header"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_named(server: Running, app: str, body: dict[str, Any], field: str) -> None:
    sent = {"name": "n", "provider": "schedule", "config": BERLIN, **body}
    sent = {name: value for name, value in sent.items() if value is not None}
    error = (await server.call("POST", f"/v1/apps/{app}/triggers", 400, json=sent))["error"]
    assert field in error["details"], error


async def test_name_and_provider_never_change(server: Running, app: str) -> None:
    trigger = await create(server, app, config=BERLIN)
    url = f"/v1/apps/{app}/triggers/{trigger['id']}"
    assert "name" in (await server.call("PUT", url, 400, json={"name": "other"}))["error"]["details"]
    assert "provider" in (await server.call("PUT", url, 400, json={"provider": "webhook"}))["error"]["details"]
    bad = await server.call("PUT", url, 400, json={"config": {"timezone": "UTC", "schedule": "nope"}})
    assert "config.schedule" in bad["error"]["details"]
    same = {"name": "nightly", "provider": "schedule", "input_transformer": SAY}
    assert (await server.call("PUT", url, json=same))["data"]["input_transformer"] == SAY
    assert await server.call("DELETE", url) == {"message": "deleted"}
    await server.call("DELETE", url, 404)


async def test_an_event_loses_its_payload_with_its_run(server: Running, app: str) -> None:
    """What a deletion removes is in no log; the delivery stays known."""
    hook = await active(server, app, provider="webhook", config={})
    async with httpx.AsyncClient(verify=NO_AUTHORITIES) as sender:
        sent = {"json": {"input": "The secret"}, "headers": {"webhook-id": "w"}}
        await sender.post(hook["webhook_url"], **sent)  # type: ignore[arg-type]
        event = (await events(server, hook, 1, "accepted"))[0]
        run = await server.status(event["run_id"], "completed")
        await server.call("DELETE", f"/v1/conversations/{run['conversation_id']}")
        left = (await events(server, hook))[0]
        assert ("run_id" in left, left["payload"], left["status"]) == (False, {}, "accepted")
        assert (await sender.post(hook["webhook_url"], **sent)).status_code == 200  # type: ignore[arg-type]

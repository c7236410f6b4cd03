"""Signing in: a key or a link becomes a session, which does what its key may do, and ends with it."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from stoa import access
from stoa.db import Database
from stoa.kernel.errors import Unauthorized
from stoa.kernel.ids import RandomIds
from tests.conftest import FIRST_KEY, Running
from tests.support.browsers import browser, sign_in
from tests.support.running import NO_AUTHORITIES


async def test_a_key_opens_a_session_and_is_not_kept(shared_server: Running) -> None:
    async with browser(shared_server) as client:
        assert 'id="sign-in"' in (await client.get("/")).text
        answer = await sign_in(client, next="/console/conversations")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/conversations")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert FIRST_KEY not in cookie
        assert 'class="chat"' in (await client.get("/")).text
        assert (await client.get("/v1/conversations")).status_code == 200


async def test_a_wrong_key_is_refused_in_words(shared_server: Running) -> None:
    async with browser(shared_server) as client:
        answer = await sign_in(client, "stoa_acc_" + "x" * 64)
        assert answer.status_code == 401
        assert "unknown or was revoked" in answer.text
        assert "set-cookie" not in answer.headers


async def test_the_way_on_leads_nowhere_else(shared_server: Running) -> None:
    for wanted in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/v1/keys"):
        async with browser(shared_server) as client:
            assert (await sign_in(client, next=wanted)).headers["location"] == "/"


async def test_a_write_from_another_site_is_refused(running: Running) -> None:
    body = {"model_id": await running.model_id()}
    async with browser(running) as client:
        await sign_in(client)
        assert (await client.post("/v1/conversations", json=body)).status_code == 201
        for headers in (
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": running.url, "Sec-Fetch-Site": "same-site"},
        ):
            answer = await client.post("/v1/conversations", json=body, headers=headers)
            assert answer.status_code == 403, headers
            assert (await client.post("/console/sign-out", headers=headers)).status_code == 403
        del client.headers["Origin"], client.headers["Sec-Fetch-Site"]
        assert (await client.post("/v1/conversations", json=body)).status_code == 403
    assert (await running.call("GET", "/v1/conversations"))["pagination"]["total_count"] == 1


async def test_revoking_the_key_ends_its_sessions_at_once(shared_server: Running) -> None:
    made = (await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "Ada"}))["data"]
    async with browser(shared_server) as client:
        await sign_in(client, made["key"])
        assert (await client.get("/v1/conversations")).status_code == 200
        await shared_server.call("DELETE", f"/v1/access-keys/{made['id']}")
        assert (await client.get("/v1/conversations")).status_code == 401
        page = await client.get("/")
        assert page.status_code == 401
        assert 'id="sign-in"' in page.text


async def test_a_session_may_what_its_key_may(shared_server: Running) -> None:
    fields = {"name": "Reader", "permissions": ["conversations:read"]}
    made = (await shared_server.call("POST", "/v1/access-keys", 201, json=fields))["data"]
    async with browser(shared_server) as client:
        await sign_in(client, made["key"])
        assert (await client.get("/v1/conversations")).status_code == 200
        assert (await client.get("/v1/access-keys")).status_code == 403
        assert (await client.get("/")).status_code == 200


async def test_signing_out_ends_the_session_itself(shared_server: Running) -> None:
    async with browser(shared_server) as client:
        secret = (await sign_in(client)).headers["set-cookie"].split("=", 1)[1].split(";")[0]
        await client.post("/console/sign-out")
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await client.get("/v1/conversations", headers=headers)).status_code == 401


async def test_a_link_opens_one_session(running: Running) -> None:
    link = running.server.sign_in_link
    assert link is not None
    async with browser(running) as client, browser(running) as other:
        assert (await sign_in(client, "", link=link)).status_code == 303
        assert (await client.get("/v1/conversations")).status_code == 200
        assert (await sign_in(other, "", link=link)).status_code == 401
        assert (await other.get("/v1/conversations")).status_code == 401


class Clock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


async def test_sessions_and_links_end_in_time(shared_server: Running) -> None:
    database, clock = await Database.open(shared_server.dsn, connections_max=2), Clock()
    try:
        owner = access.Access(database, RandomIds(), clock)
        sessions = access.Sessions(database, clock, owner)
        link = await sessions.link(FIRST_KEY)
        secret, ends = await sessions.open(FIRST_KEY)
        assert ends - clock.at == timedelta(days=14)
        clock.at += timedelta(minutes=15)
        for attempt in (sessions.redeem(link), sessions.open("stoa_web_" + "x" * 64), sessions.open(secret)):
            with pytest.raises(Unauthorized):
                await attempt
        assert (await owner.authenticate(secret)).key_id is not None
        clock.at = ends
        with pytest.raises(Unauthorized, match="session has ended"):
            await owner.authenticate(secret)
    finally:
        await database.close()


async def test_programs_see_no_change(shared_server: Running) -> None:
    plain = await shared_server.client.get("/", headers={"Accept": "*/*"})
    assert plain.headers["content-type"].startswith("text/plain")
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=shared_server.url) as stranger:
        for path in ("/v1/conversations", "/v1/nothing", "/v1/projects"):
            assert (await stranger.get(path)).headers["content-type"].startswith("application/json")
    assert "/console" not in (await shared_server.client.get("/openapi.json")).text

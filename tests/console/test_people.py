"""People come in, and leave: the first owner, a password, an invitation, a forgotten password, the provider. Against a
real mail server and a real OpenID Connect provider; browsers reach the server by its public name only."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from stoa.settings import Oidc, Smtp
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.mail import Mailbox, mail_server
from tests.support.providers import provider
from tests.support.running import FIRST_KEY, NO_AUTHORITIES, Running, serving

PUBLIC = "http://stoa.example"
PASSWORD = "correct horse battery"


@dataclass
class Place:
    server: Running
    mail: Mailbox
    provider: str
    owner: httpx.AsyncClient
    org: str

    @asynccontextmanager
    async def browser(self, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
        sent = {"Accept": "text/html", "Host": "stoa.example", "Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
        async with httpx.AsyncClient(
            base_url=self.server.url, headers={**sent, **headers}, timeout=30, verify=NO_AUTHORITIES
        ) as client:
            yield client

    async def invited(self, email: str, role: str = "member") -> str:
        """The token, from the mail."""
        body = {"email": email, "role": role}
        made = (await self.server.call("POST", f"/v1/orgs/{self.org}/invitations", 201, json=body))["data"]
        assert (made["mailed"], "token" in made) == (True, False), "nobody but the address gets it"
        return link_in(await self.mail.next(email), "/console/invitation")

    async def somebody(self, email: str) -> None:
        token = await self.invited(email)
        async with self.browser() as client:
            form = {"token": token, "password": PASSWORD, "first_name": "B"}
            assert (await client.post("/console/invitation", data=form)).status_code == 303

    async def at_provider(self, subject: str, **claims: Any) -> None:
        async with httpx.AsyncClient(verify=NO_AUTHORITIES) as client:
            assert (await client.put(f"{self.provider}/users/{quote(subject)}", json=claims)).status_code == 204

    async def authorized(self, client: httpx.AsyncClient, subject: str, back: str = "/") -> str:
        """The way to the provider, and the address that it leads back to."""
        begun = await client.get("/console/sign-in/oidc", params={"next": back})
        assert begun.status_code == 303, begun.text
        async with httpx.AsyncClient(verify=NO_AUTHORITIES) as elsewhere:
            agreed = await elsewhere.post(begun.headers["location"], data={"sub": subject})
        assert agreed.status_code == 302, agreed.text
        return agreed.headers["location"]

    async def sign_in(self, client: httpx.AsyncClient, subject: str, back: str = "/") -> httpx.Response:
        return await client.get((await self.authorized(client, subject, back)).removeprefix(PUBLIC))

    async def fetch(self, statement: str, *values: object) -> Any:
        database = await asyncpg.connect(self.server.dsn)
        try:
            return await database.fetchval(statement, *values)
        finally:
            await database.close()


def link_in(message: Any, path: str) -> str:
    found = re.search(rf"{PUBLIC}{path}#(\S+)", message.get_content())
    assert found, message.get_content()
    return found[1]


async def me(client: httpx.AsyncClient) -> str | None:
    answer = await client.get("/v1/me", headers={"Accept": "application/json"})
    return answer.json()["data"]["email"] if answer.status_code == 200 else None


@pytest.fixture(scope="module")
async def place(cluster: Databases, room: Path) -> AsyncGenerator[Place]:
    dsn = await cluster.copy(f"people_{uuid4().hex[:8]}")
    async with provider() as issuer, mail_server() as mail:
        oidc = Oidc(issuer=issuer, client_id="stoa", client_secret=SecretStr("s3cret"), name="Example")
        smtp = Smtp(host="127.0.0.1", port=mail.port, tls="none", sender="Stoa <stoa@stoa.example>")
        options: dict[str, Any] = {"oidc": oidc, "smtp": smtp, "public_url": PUBLIC, "allow_private_addresses": False}
        async with (
            serving(dsn, room / f"people_{uuid4().hex[:8]}", ScriptedModel(), **options) as server,
            httpx.AsyncClient(
                base_url=server.url,
                headers={"Accept": "text/html", "Host": "stoa.example", "Origin": PUBLIC},
                timeout=30,
                verify=NO_AUTHORITIES,
            ) as owner,
        ):
            link = server.server.owner_link
            assert link is not None
            assert 'name="token"' in (await owner.get("/console/welcome")).text
            form = {"token": link, "email": "Owner@Example.com", "password": "short"}
            refused = await owner.post("/console/welcome", data=form)
            assert (refused.status_code, "12 to 1024" in refused.text.replace("1,024", "1024")) == (400, True)
            assert "short" not in refused.text
            form["password"] = PASSWORD
            answers = await asyncio.gather(*(owner.post("/console/welcome", data=form) for _ in range(3)))
            assert sorted(one.status_code for one in answers) == [303, 404, 404], "it makes one owner"
            org = (await server.call("GET", "/v1/orgs"))["data"][0]["id"]
            yield Place(server, mail, issuer, owner, org)


async def test_the_first_owner_is_signed_in(place: Place) -> None:
    assert await me(place.owner) == "owner@example.com"
    listed = (await place.owner.get(f"/v1/orgs/{place.org}/members")).json()["data"]
    assert {one["role"] for one in listed if one["email"] == "owner@example.com"} == {"owner"}
    assert await place.fetch("SELECT count(*) FROM user_links WHERE kind = 'first_owner'") == 0
    for path in ("/", "/console/members", "/console/account", "/console/keys"):
        page = await place.owner.get(path)
        assert page.status_code == 200, path
    assert "owner@example.com" in (await place.owner.get("/console/members")).text
    async with place.browser() as client:
        form = {"token": "stoa_own_" + "x" * 64, "email": "m@example.com", "password": PASSWORD}
        assert (await client.post("/console/welcome", data=form)).status_code == 404


async def test_a_password_opens_a_session(place: Place) -> None:
    await place.somebody("pass@example.com")
    async with place.browser() as client:
        page = await client.get("/console/sign-in")
        assert "Sign in with Example" in page.text
        for email in ("\x00", "a\x00@example.com", "x" * 9000):
            odd = await client.post("/console/sign-in", data={"email": email, "password": "\x00" * 12})
            assert odd.status_code == 401
        wrong = [
            await client.post("/console/sign-in", data={"email": email, "password": "a wrong password"})
            for email in ("pass@example.com", "nobody@example.com")
        ]
        assert [one.status_code for one in wrong] == [401, 401]
        told = [re.sub(r'value="[^"]*"', "", one.text) for one in wrong]
        assert told[0] == told[1], "whether the address is known shows nowhere"
        form = {"email": "PASS@example.com", "password": PASSWORD, "next": "//evil.example"}
        entered = await client.post("/console/sign-in", data=form)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert await me(client) == "pass@example.com"
        secret = client.cookies["stoa-session"]
        assert secret.startswith("stoa_ses_")
        as_bearer = {"Authorization": f"Bearer {secret}", "Cookie": ""}
        assert (await client.get("/v1/me", headers=as_bearer)).status_code == 401, "no program sends it"
        body = {"name": "x"}
        for headers in ({"Origin": "https://evil.example"}, {"Origin": PUBLIC, "Sec-Fetch-Site": "cross-site"}):
            for path in ("/v1/personal-access-tokens", "/console/account", "/console/sign-out"):
                assert (await client.post(path, json=body, headers=headers)).status_code == 403, headers
        assert (await client.post("/v1/personal-access-tokens", json=body)).status_code == 201
        left = await client.post("/console/sign-out")
        assert (left.status_code, left.headers["location"]) == (303, "/console/sign-in")
        client.cookies.set("stoa-session", secret)
        assert await me(client) is None


async def test_ones_own_account(place: Place) -> None:
    await place.somebody("own@example.com")
    form = {"email": "own@example.com", "password": PASSWORD}
    async with place.browser() as here, place.browser() as there, place.browser() as third:
        for client in (here, there, third):
            await client.post("/console/sign-in", data=form)
        page = (await here.get("/console/account")).text
        assert page.count('name="session"') == 3, "the invitation's browser, and two others"
        assert page.count("this browser") == 1
        ids = re.findall(r'name="session" value="([^"]+)"', page)
        await here.post("/console/account", data={"do": "end", "session": ids[0]})
        assert [await me(client) is not None for client in (here, there, third)].count(True) == 2
        stranger = re.findall(r'name="session" value="([^"]+)"', (await place.owner.get("/console/account")).text)
        assert (await here.post("/console/account", data={"do": "end", "session": str(uuid4())})).status_code == 404
        for one in stranger:
            assert (await here.post("/console/account", data={"do": "end", "session": one})).status_code == 404
        wrong = {"do": "password", "present": "not that one", "password": "another password"}
        assert (await here.post("/console/account", data=wrong)).status_code == 400
        changed = await here.post("/console/account", data={**wrong, "present": PASSWORD})
        assert "Your password was changed." in changed.text
        assert [await me(client) for client in (here, there, third)] == ["own@example.com", None, None]
        assert "was changed" in (await place.mail.next("own@example.com")).get_content()
        assert (await third.post("/console/sign-in", data=form)).status_code == 401
        assert (await here.post("/console/account", data={"do": "switch", "org": str(uuid4())})).status_code == 404
    async with place.browser() as program:
        await program.post("/console/sign-in", data={"key": FIRST_KEY})
        assert "has no account" in (await program.get("/console/account")).text
        assert (await program.post("/console/account", data={"do": "end_others"})).status_code == 404


async def test_a_user_of_two_organizations_changes_between_them(place: Place) -> None:
    made = await place.owner.post("/v1/orgs", json={"name": "Second"})
    assert made.status_code == 201, made.text
    second = made.json()["data"]["id"]
    assert "This browser works in" in (await place.owner.get("/console/account")).text
    await place.owner.post("/console/account", data={"do": "switch", "org": second})
    keys = (await place.owner.get("/v1/access-keys")).json()["data"]
    assert keys == [], "the second organization has none"
    await place.owner.post("/console/account", data={"do": "switch", "org": place.org})
    assert (await place.owner.get("/v1/access-keys")).json()["data"]


async def test_a_forgotten_password(place: Place) -> None:
    await place.somebody("lost@example.com")
    async with place.browser() as client, place.browser() as old:
        await old.post("/console/sign-in", data={"email": "lost@example.com", "password": PASSWORD})
        asked = [
            await client.post("/console/forgotten", data={"email": email}, headers={"X-Forwarded-Host": "evil.example"})
            for email in (
                "nobody@example.com",
                "Lost@example.com",
                "lost@example.com",
                "no\x00address\r\nBcc: x@y.z",
                "",
            )
        ]
        assert len({(one.status_code, one.text) for one in asked}) == 1, "the answer tells nothing"
        token = link_in(await place.mail.next("lost@example.com"), "/console/reset")
        assert await place.fetch("SELECT count(*) FROM user_links WHERE hash::text LIKE $1", f"%{token[9:]}%") == 0
        for password in ("short", ""):
            refused = await client.post("/console/reset", data={"token": token, "password": password})
            assert refused.status_code == 400
        form = {"token": f"{PUBLIC}/console/reset#{token}", "password": "a new password"}
        answers = await asyncio.gather(*(client.post("/console/reset", data=form) for _ in range(3)))
        assert sorted(one.status_code for one in answers) == [200, 404, 404], "it works once"
        assert await me(old) is None
        assert "was changed" in (await place.mail.next("lost@example.com")).get_content()
        assert [one for one in place.mail.messages if one["To"] == "lost@example.com"] == [], "one mail a minute"
        good = {"email": "lost@example.com", "password": "a new password"}
        assert (await client.post("/console/sign-in", data=good)).status_code == 303
        assert (await client.post("/console/sign-in", data={**good, "password": PASSWORD})).status_code == 401


async def test_a_reset_link_that_is_too_old_or_of_another_kind(place: Place) -> None:
    await place.somebody("late@example.com")
    async with place.browser() as client:
        await client.post("/console/forgotten", data={"email": "late@example.com"})
        token = link_in(await place.mail.next("late@example.com"), "/console/reset")
        await place.fetch(
            "UPDATE user_links SET expires_at = now() - interval '1 second' WHERE kind = 'password_reset'"
        )
        form = {"token": token, "password": "a new password"}
        assert (await client.post("/console/reset", data=form)).status_code == 404
        welcome = {**form, "email": "x@example.com"}
        await place.fetch("UPDATE user_links SET expires_at = now() + interval '1 hour'")
        assert (await client.post("/console/welcome", data=welcome)).status_code == 404
        assert (await client.post("/console/reset", data=form)).status_code == 200


async def test_an_invitation_by_mail(place: Place) -> None:
    token = await place.invited("new@example.com", "admin")
    async with place.browser() as client:
        without = await client.post("/console/invitation", data={"token": token})
        assert (without.status_code, "new@example.com is no user yet" in without.text) == (400, True)
        form = {"token": token, "password": PASSWORD, "first_name": "<b>N</b>"}
        assert (await client.post("/console/invitation", data=form)).status_code == 303
        assert await me(client) == "new@example.com"
        assert (await client.post("/console/invitation", data=form)).status_code == 404
        members = await client.get("/console/members")
        assert "&lt;b&gt;N&lt;/b&gt;" in members.text
    assert await place.fetch("SELECT email_verified_at IS NOT NULL FROM users WHERE email = 'new@example.com'")
    again = (await place.server.call("POST", "/v1/orgs", 403, json={"name": "x"}))["error"]["code"]
    assert again == "forbidden"


async def test_a_mail_server_that_refuses(place: Place) -> None:
    """The inviter gets the token instead, and hands it over."""
    place.mail.refuses = "554 5.7.1 not from you"
    try:
        made = await place.server.call(
            "POST", f"/v1/orgs/{place.org}/invitations", 201, json={"email": "hand@example.com"}
        )
    finally:
        place.mail.refuses = None
    assert made["data"]["mailed"] is False
    assert made["data"]["token"].startswith("stoa_inv_")


# --- the provider ---------------------------------------------------------------------------------------------------


async def test_an_invited_person_signs_in_with_the_provider(place: Place) -> None:
    await place.invited("carol@example.com", "admin")
    await place.at_provider("carol-1", email="Carol@example.com", email_verified=True, given_name="Carol")
    async with place.browser() as client:
        entered = await place.sign_in(client, "carol-1", "/console/runs")
        assert (entered.status_code, entered.headers["location"]) == (303, "/console/runs")
        assert await me(client) == "carol@example.com"
        assert not any(name.startswith("stoa-begun") for name in client.cookies)
        # The subject identifies her from now on: the address may change, at the provider and here.
        await place.at_provider("carol-1", email="carol.new@example.com", email_verified=False)
        assert (await place.sign_in(client, "carol-1")).status_code == 303
        assert await me(client) == "carol@example.com"
        assert "You also sign in with Example." in (await client.get("/console/account")).text
        left = await client.post("/console/sign-out")
        assert left.status_code == 200
        address = re.search(rf'href="({place.provider}/oauth2/end_session[^"]*)"', left.text)
        assert address
        query = dict(parse_qsl(urlsplit(address[1].replace("&amp;", "&")).query))
        assert query["post_logout_redirect_uri"] == f"{PUBLIC}/console/sign-in"
        assert query["id_token_hint"].count(".") == 2
        assert await me(client) is None


async def test_an_unverified_address_signs_nobody_in(place: Place) -> None:
    await place.somebody("victim@example.com")
    await place.invited("guest@example.com")
    for subject, claims in (
        ("m-1", {"email": "victim@example.com", "email_verified": False}),
        ("m-2", {"email": "victim@example.com"}),
        ("m-4", {"email": "guest@example.com"}),
        ("m-6", {"preferred_username": "victim@example.com"}),
        ("m-7", {"email": "stranger@example.com", "email_verified": True}),
        ("m-8", {"email": "victim@example.com\x00", "email_verified": True}),
        ("m-10", {"email": ["victim@example.com"], "email_verified": True}),
    ):
        await place.at_provider(subject, **claims)
        async with place.browser() as client:
            refused = await place.sign_in(client, subject)
            assert refused.status_code in (400, 403), (subject, refused.status_code)
            assert "stoa-session" not in client.cookies
            assert await me(client) is None
    assert await place.fetch("SELECT count(*) FROM user_identities WHERE subject LIKE 'm-%'") == 0
    assert await place.fetch("SELECT count(*) FROM invitations WHERE email = 'guest@example.com'") == 1


async def test_who_holds_an_account_under_somebody_elses_address_loses_it(place: Place) -> None:
    """An invitation that was handed over shows nothing of whose the address is: the password, sessions and tokens that
    were made with it end when the address's owner comes."""
    place.mail.refuses = "451 later"
    try:
        body = {"email": "boss@corp.example"}
        made = await place.server.call("POST", f"/v1/orgs/{place.org}/invitations", 201, json=body)
    finally:
        place.mail.refuses = None
    async with place.browser() as mallory, place.browser() as boss:
        form = {"token": made["data"]["token"], "password": PASSWORD}
        assert (await mallory.post("/console/invitation", data=form)).status_code == 303
        token = (await mallory.post("/v1/personal-access-tokens", json={"name": "kept"})).json()["data"]["key"]
        await place.at_provider("boss-1", email="boss@corp.example", email_verified=True)
        assert (await place.sign_in(boss, "boss-1")).status_code == 303
        assert await me(boss) == "boss@corp.example"
        assert await me(mallory) is None
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await mallory.get("/v1/me", headers=bearer)).status_code == 401
        again = {"email": "boss@corp.example", "password": PASSWORD}
        assert (await mallory.post("/console/sign-in", data=again)).status_code == 401


async def test_a_sign_in_belongs_to_the_browser_that_began_it(place: Place) -> None:
    await place.invited("dave@example.com")
    await place.at_provider("dave-1", email="dave@example.com", email_verified=True)
    async with place.browser() as client, place.browser() as victim:
        back = (await place.authorized(client, "dave-1")).removeprefix(PUBLIC)
        refused = await victim.get(back)
        assert (refused.status_code, "another browser" in refused.text) == (401, True)
        assert "stoa-session" not in victim.cookies
        other = (await place.authorized(client, "dave-1")).removeprefix(PUBLIC)
        assert (await client.get(other)).status_code == 303, "two tabs, the second first"
        assert (await client.get(back)).status_code == 303
        assert (await client.get(back)).status_code == 401, "a code works once"
        denied = await client.get("/console/sign-in/oidc/callback?error=access_denied&state=x&error_description=<b>")
        assert (denied.status_code, "<b>" in denied.text) == (401, False)
        for query in ("", "state=&code=", "state=a&state=b&code=c", "code=%00&state=%ff", "state=" + "x" * 5000):
            answer = await client.get(f"/console/sign-in/oidc/callback?{query}")
            assert answer.status_code == 401, query
        for _ in range(9):
            await client.get("/console/sign-in/oidc")
        assert sum(name.startswith("stoa-begun") for name in client.cookies) <= 4


async def test_a_sign_in_begins_at_the_public_address(place: Place) -> None:
    """The cookie of the way back must be the public name's; where a proxy writes another host, there is no loop."""
    async with place.browser(Host="10.0.0.7:8080") as client:
        moved = await client.get("/console/sign-in/oidc?next=https://evil.example/")
        assert moved.headers["location"] == f"{PUBLIC}/console/sign-in/oidc?moved=1&next=%2F"
        begun = await client.get("/console/sign-in/oidc?moved=1")
        address = begun.headers["location"]
        assert address.startswith(f"{place.provider}/oauth2/authorize?")
        query = dict(parse_qsl(urlsplit(address).query))
        assert query["redirect_uri"] == f"{PUBLIC}/console/sign-in/oidc/callback"
        entered = await client.post("/console/sign-in", data={"key": FIRST_KEY})
        assert entered.status_code == 303, "a form of the public address, behind a proxy that writes another host"
    async with place.browser(**{"X-Forwarded-Proto": "https"}) as client:
        begun = await client.get("/console/sign-in/oidc")
        cookie = begun.headers["set-cookie"]
        assert cookie.startswith("__Host-stoa-begun-")
        assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))
        client.headers["Origin"] = "https://stoa.example"
        opened = await client.post("/console/sign-in", data={"key": FIRST_KEY})
        assert opened.headers["set-cookie"].startswith("__Host-stoa-session=")
        assert "Domain" not in opened.headers["set-cookie"]

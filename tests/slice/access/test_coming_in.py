"""Mail over each kind of TLS, the first owner's link under a race and in time, newcomers of a provider."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import argon2
import pytest

from stoa.access import NewUser, OrgRole, Passwords, Users
from stoa.access.identities import Identities
from stoa.access.mailing import MailServer, SmtpMail
from stoa.access.owners import FirstOwner
from stoa.access.resets import WAITING_MAX, Resets
from stoa.access.service import Access
from stoa.access.types import Claims, SignUpPolicy
from stoa.db import Database
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from stoa.kernel.ids import RandomIds
from tests.support.mail import mail_server
from tests.support.tls import Authority

PASSWORD = "correct horse battery"
QUICK = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Clock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Built:
    database: Database
    clock: Clock
    users: Users
    first_owner: FirstOwner

    def identities(self, **newcomers: Any) -> Identities:
        return Identities(self.database, RandomIds(), self.clock, self.users, SignUpPolicy(**newcomers))


@pytest.fixture
async def built(dsn: str) -> AsyncIterator[Built]:
    database, clock, ids = await Database.open(dsn, connections_max=4), Clock(), RandomIds()
    await Access(database, ids, clock).bootstrap(None)
    users = Users(database, ids, clock, QUICK)
    yield Built(database, clock, users, FirstOwner(database, ids, clock, QUICK, users))
    await database.close()


def ada(email: str = "ada@example.com") -> NewUser:
    return NewUser(email, "Ada")


async def test_the_first_owners_link(built: Built) -> None:
    """Of several links and nodes one makes an owner; a link ends in time, and with the first owner."""
    first, second, late = [await built.first_owner.link() for _ in range(3)]
    assert first is not None
    assert second is not None
    assert late is not None
    built.clock.at += timedelta(minutes=15)
    with pytest.raises(NotFound, match="15 minutes"):
        await built.first_owner.redeem(late, ada(), PASSWORD)
    built.clock.at -= timedelta(minutes=1)
    for email, password in (("no address", PASSWORD), ("ada@example.com", "short")):
        with pytest.raises(BadRequest):
            await built.first_owner.redeem(first, ada(email), password)
    made = await asyncio.gather(
        *(built.first_owner.redeem(one, ada(f"{n}@example.com"), PASSWORD) for n, one in enumerate((first, second))),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in made) in (["NotFound", "Opened"], ["Conflict", "Opened"])
    assert await built.first_owner.link() is None
    with pytest.raises((NotFound, Conflict)):
        await built.first_owner.redeem(late, ada("x@example.com"), PASSWORD)


async def test_a_link_opens_nothing_once_the_operator_has_made_an_owner(built: Built) -> None:
    link = await built.first_owner.link()
    assert link is not None
    await built.users.create(ada(), PASSWORD, OrgRole.OWNER)
    with pytest.raises(Conflict, match="has an owner already"):
        await built.first_owner.redeem(link, ada("eve@example.com"), PASSWORD)
    assert await built.first_owner.link() is None


def claims(subject: str = "s-1", email: str = "ada@example.com", *, verified: bool = True) -> Claims:
    return Claims("https://id.example", subject, email, verified, "Ada", "L")


async def test_who_may_come_from_the_provider(built: Built) -> None:
    with pytest.raises(Forbidden, match="ask an owner"):
        await built.identities().sign_in(claims(), None)
    only = built.identities(domains=("corp.example",), members=True)
    for email in ("ada@example.com", "ada@corp.example.evil.com", "ada@evil.com@example.com"):
        with pytest.raises(Forbidden, match="Only addresses of corp"):
            await only.sign_in(claims(email=email), None)
    made = await asyncio.gather(*(only.sign_in(claims("s-2", "Bob@Corp.example"), None) for _ in range(4)))
    owners = {(await built.users.verify(one.secret)).user_id for one in made}
    assert len(owners) == 1, "four tabs make one user"
    with pytest.raises(Forbidden):
        await only.sign_in(claims("s-2", "bob@corp.example", verified=False), None)
    # Another subject with the same address, vouched for by the same provider, is joined; one of another issuer too.
    await only.sign_in(claims("s-3", "bob@corp.example"), None)
    with pytest.raises(Forbidden):
        await only.sign_in(claims("s-4", "bob@corp.example", verified=False), None)


async def test_the_operators_user_keeps_the_password(built: Built) -> None:
    """The operator vouches for the address, so nothing ends when the provider does so too."""
    await built.users.create(ada(), PASSWORD, OrgRole.OWNER)
    session = await built.users.sign_in("ada@example.com", PASSWORD)
    made = await built.identities().sign_in(claims(), None)
    assert (await built.users.verify(made.secret)).user_id == (await built.users.verify(session)).user_id
    assert await built.users.sign_in("ada@example.com", PASSWORD)


# --- mail -----------------------------------------------------------------------------------------------------------


def reached(port: int, tls: Any, **fields: Any) -> SmtpMail:
    return SmtpMail(MailServer("localhost", port, tls, "Stoa <stoa@stoa.example>", **fields))


async def test_mail_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    known = {"authorities": str(authority.bundle_file)}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain_file, authority.key_file)
    for kind, offered in (("tls", {"tls": context}), ("starttls", {"starttls": context})):
        async with mail_server(accounts={"stoa": "s3cret"}, **offered) as box:
            account = {"username": "stoa", "password": "s3cret"}
            assert await reached(box.port, kind, **known, **account).send("a@example.com", "Hello", "Grüße\n")
            message = await box.next("a@example.com")
            assert (message["Subject"], message["From"]) == ("Hello", "Stoa <stoa@stoa.example>")
            assert message.get_content().strip() == "Grüße"
            assert box.encrypted == [True]
            assert not await reached(box.port, kind, **account).send("a@example.com", "x", "x"), "an unknown authority"
            wrong = {**known, "username": "stoa", "password": "wrong"}
            assert not await reached(box.port, kind, **wrong).send("a@example.com", "x", "x")
            assert box.messages == []


async def test_nothing_is_sent_in_clear_or_to_another(tmp_path: Path) -> None:
    """A server that offers no STARTTLS, as one whose offer somebody has taken out, gets nothing."""
    async with mail_server() as box:
        assert not await reached(box.port, "starttls").send("a@example.com", "x", "x")
        plain = reached(box.port, "none")
        for to in ("a@example.com\r\nBcc: b@example.com", "a@example.com, b@example.com", "", "@", "a b@example.com"):
            assert not await plain.send(to, "x", "x"), to
        assert box.messages == []
        assert await plain.send("a@example.com", "x", "x")
        port = box.port
    assert not await reached(port, "none").send("a@example.com", "x", "x"), "it is gone"


async def test_a_flood_of_requests_for_a_reset_takes_no_memory(built: Built) -> None:
    """And nobody who asks is kept waiting."""

    class Silent:
        async def send(self, to: str, subject: str, text: str) -> bool:
            return True

    resets = Resets(built.database, built.clock, QUICK, Silent(), "https://stoa.example")
    for number in range(WAITING_MAX * 3):
        resets.ask(f"{number}@example.com")
    assert resets._waiting.qsize() == WAITING_MAX

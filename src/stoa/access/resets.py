"""Forgotten passwords: a mail with a link that sets a new one, once and within half an hour."""

import asyncio
from functools import partial
from typing import Final

import structlog

from stoa.access import people, rules, texts
from stoa.access.passwords import Passwords
from stoa.access.people import SQL
from stoa.access.ports import Mail
from stoa.db import Database, audit
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal
from stoa.kernel.storable import as_storable
from stoa.kernel.supervise import Supervisor

WAITING_MAX: Final = 100
"""Requests of a node that wait for the mail server."""
_CLOSED: Final = "This link is unknown, was used, or is older than 30 minutes; ask for another one."
_log = structlog.get_logger("stoa.access.mail")


class Resets:
    """The request is only put into a queue, so neither the response nor its timing reveals whether the address is
    known. Queued requests are lost when the node ends; the user then asks again."""

    def __init__(self, database: Database, clock: Clock, passwords: Passwords, mail: Mail, public_url: str) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._mail = mail
        self._public_url = public_url
        self._waiting: asyncio.Queue[tuple[str, bool]] = asyncio.Queue(WAITING_MAX)
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep(self._work, "access.resets")

    async def stop(self) -> None:
        await self._supervisor.stop()

    def ask(self, email: str) -> None:
        """Queues a mail, which is sent if the address is a user's and got none within a minute."""
        self._put(as_storable(email.strip().lower()), changed=False)

    def say_changed(self, email: str) -> None:
        """Queues a mail that says that the password was changed."""
        self._put(email, changed=True)

    def _put(self, email: str, *, changed: bool) -> None:
        if self._waiting.full():
            _log.warning("mail was not sent", error="too many wait", code=None)
            return
        self._waiting.put_nowait((email, changed))

    async def _work(self) -> None:
        while True:
            email, changed = await self._waiting.get()
            message = texts.password_changed(self._public_url) if changed else await self._link(email)
            if message is not None:
                await self._mail.send(email, *message)

    async def _link(self, email: str) -> texts.Message | None:
        secret = rules.new_secret(rules.RESET_PREFIX)
        async with internal(self._database) as tx:
            user_id = await tx.fetchval(SQL.begin_reset, email, rules.RESETS_PER_DAY_MAX)
            if user_id is None:
                return None
            ends = self._clock.now() + rules.RESET_LIFETIME
            await tx.execute(SQL.insert_reset, rules.digest(secret), user_id, ends)
        return texts.reset(secret, self._public_url, rules.RESET_LIFETIME.seconds // 60)

    async def redeem(self, secret: str, password: str) -> None:
        """Sets the password, and ends all sessions. If the address was not proven before, personal access tokens are
        revoked too, because somebody else may have created them. Raises NotFound and BadRequest."""
        opens = partial(self._arguments, secret)
        async with internal_statement(self._database) as tx:
            if not await tx.fetchval(SQL.link_open, *opens()):
                raise NotFound(_CLOSED)  # Before the password is hashed.
        hashed = await self._passwords.hash(rules.check_password(password))
        async with internal(self._database) as tx:
            taken = await tx.fetchrow(SQL.take_link, *opens())
            if taken is None:
                raise NotFound(_CLOSED)
            user_id = taken["user_id"]
            row = await tx.fetchrow(SQL.user, user_id)
            assert row is not None, "a link goes with its user"
            await tx.execute(SQL.set_password, user_id, hashed)
            await people.own_email(tx, user_id)
            await tx.execute(SQL.sign_out_everywhere, user_id)
            if (org_id := await tx.fetchval(SQL.first_org_of_user, user_id)) is not None:
                await audit.record(tx, Principal(org_id, None, user_id, user_id=user_id), "user.reset", user_id)
        self.say_changed(row["email"])

    def _arguments(self, secret: str) -> tuple[object, ...]:
        return rules.digest(secret), "password_reset", self._clock.now()

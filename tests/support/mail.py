"""A real mail server on loopback, which keeps what it was sent."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@dataclass
class Mailbox:
    """`accounts` may sign in; `refuses` is the answer to each message, instead of accepting it."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    refuses: str | None = None
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 — the library's name
        if self.refuses is not None:
            return self.refuses
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        async with self.arrived:
            self.messages.append(message)
            self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
            self.arrived.notify_all()
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        name = data.login.decode()
        self.signed_in.append(name)
        # Not `handled`: then the server answers 535 itself; otherwise it would answer nothing.
        return AuthResult(success=self.accounts.get(name) == data.password.decode(), handled=False)

    async def next(self, to: str) -> EmailMessage:
        """The first message to this address that was not taken yet."""
        async with asyncio.timeout(20), self.arrived:
            while True:
                for message in self.messages:
                    if message["To"] == to:
                        self.messages.remove(message)
                        return message
                await self.arrived.wait()


@asynccontextmanager
async def mail_server(
    *, accounts: dict[str, str] | None = None, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Mailbox]:
    box = Mailbox(accounts=accounts or {})

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Over `tls` the library does not see that a password is encrypted.
            return SMTP(
                box,
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=box.authenticate if accounts else None,
                auth_required=bool(accounts),
                auth_require_tls=tls is None,
                hostname="mail.example",
                loop=asyncio.get_running_loop(),
            )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()

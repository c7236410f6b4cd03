"""Mail by SMTP, with the standard library, in a thread."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Final, Literal

import structlog

SECONDS_MAX: Final = 20.0
"""For each answer of the mail server. The whole of a message may take six of them."""
SENDING_MAX: Final = 4
"""Messages that a node hands over at one moment."""
_ELSEWHERE: Final = frozenset(' \t,;:<>()[]"@\\')
"""What could make two recipients of one, or another one."""
_log = structlog.get_logger("stoa.access.mail")


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    sender: str
    """`Stoa <stoa@example.com>`, or the address alone."""
    username: str | None = None
    password: str | None = None
    authorities: str | None = None
    """A file with certificate authorities (PEM) beside the system's."""


class SmtpMail:
    """A message is handed to the mail server, or is not sent: whoever waits for it asks again."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(SENDING_MAX)
        self._tls: ssl.SSLContext | None = None

    async def send(self, to: str, subject: str, text: str) -> bool:
        """False where the mail server was not reached or refused, which is logged."""
        async with self._slots:
            try:
                await asyncio.to_thread(self._send, to, subject, text)
            except (OSError, smtplib.SMTPException, MessageError, ValueError) as error:
                # The answer of a mail server may quote the message, and so the link in it.
                code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else None
                _log.warning("mail was not sent", server=self._server.host, error=type(error).__name__, code=code)
                return False
        _log.info("mail was sent", server=self._server.host)
        return True

    def _send(self, to: str, subject: str, text: str) -> None:
        server = self._server
        message = EmailMessage()
        message["From"] = server.sender
        local, _, domain = to.rpartition("@")
        if not local or not domain or any(one in _ELSEWHERE for one in local):
            raise ValueError("no single address")
        message["To"] = Address(username=local, domain=domain)  # Refuses what would end the header.
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=parseaddr(server.sender)[1].rpartition("@")[2] or "stoa.invalid")
        message["Auto-Submitted"] = "auto-generated"  # No reply of somebody who is on holiday.
        message.set_content(text)
        with self._connected() as smtp:
            if server.username is not None:
                smtp.login(server.username, server.password or "")
            smtp.send_message(message)

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        if server.tls == "tls":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS_MAX, context=self._context())
        smtp = smtplib.SMTP(server.host, server.port, timeout=SECONDS_MAX)
        try:
            if server.tls == "starttls":
                smtp.starttls(context=self._context())  # Raises where the server offers none: nothing is sent in clear.
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            made = ssl.create_default_context()
            if self._server.authorities is not None:
                made.load_verify_locations(self._server.authorities)
            self._tls = made
        return self._tls

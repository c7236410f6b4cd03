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
"""For each response of the mail server. A whole message may need six of them."""
SENDING_MAX: Final = 4
"""Messages that a node sends at once."""
_ELSEWHERE: Final = frozenset(' \t,;:<>()[]"@\\')
"""Characters that could change or add a recipient."""
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
    """Hands a message to the mail server, without retries: a user who does not get it has to ask again."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(SENDING_MAX)
        self._tls: ssl.SSLContext | None = None

    async def send(self, to: str, subject: str, text: str) -> bool:
        """False if the mail server was unreachable or refused, which is logged."""
        async with self._slots:
            try:
                await asyncio.to_thread(self._send, to, subject, text)
            except (OSError, smtplib.SMTPException, MessageError, ValueError) as error:
                # A mail server's response may quote the message with its link.
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
        message["To"] = Address(username=local, domain=domain)  # Refuses line breaks.
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=parseaddr(server.sender)[1].rpartition("@")[2] or "stoa.invalid")
        message["Auto-Submitted"] = "auto-generated"  # Prevents automatic replies.
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
                # Raises if the server does not offer it: nothing is sent unencrypted.
                smtp.starttls(context=self._context())
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

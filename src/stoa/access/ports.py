"""What access asks of others."""

from typing import Protocol


class Mail(Protocol):
    async def send(self, to: str, subject: str, text: str) -> bool:
        """Hands a message to a mail server; False where none is configured. Raises nothing."""
        ...


class NoMail:
    """No mail server is configured: whoever invites hands the token over in another way."""

    async def send(self, to: str, subject: str, text: str) -> bool:  # noqa: ARG002 - it sends nothing
        return False

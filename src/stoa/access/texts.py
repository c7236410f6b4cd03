"""Mails as (subject, text). Links are built from STOA_PUBLIC_URL, never from a request's Host, which its sender
chooses."""

from stoa.access.types import Invitation
from stoa.kernel.clock import rfc3339

Message = tuple[str, str]


def invitation(invited: Invitation, secret: str, public_url: str | None) -> Message:
    how = (
        f"Open this, once, to become a member:\n\n{_page(public_url, 'invitation', secret)}"
        if public_url
        else f"This token makes you a member, once:\n\n{secret}"
    )
    return (
        "An invitation to Stoa",
        (
            f"You were invited to Stoa as {invited.project_role or invited.role}.\n\n{how}\n\n"
            f"It is good until {rfc3339(invited.expires_at)}. If you expected no invitation, do nothing.\n"
        ),
    )


def reset(secret: str, public_url: str, minutes: int) -> Message:
    link = _page(public_url, "reset", secret)
    return (
        "A new password for Stoa",
        (
            "Somebody, probably you, asked for a new password for this address.\n\n"
            f"Open this within {minutes} minutes to choose one; it works once:\n\n{link}\n\n"
            "If it was not you, do nothing: your password stays as it is.\n"
        ),
    )


def password_changed(public_url: str) -> Message:
    return (
        "Your password for Stoa was changed",
        (
            "The password of this address was changed, and every other browser was signed out.\n\n"
            f"If it was not you, ask for a new one at once: {public_url.rstrip('/')}/console/forgotten\n"
        ),
    )


def _page(public_url: str, name: str, secret: str) -> str:
    """The secret is in the fragment, which browsers do not send: it is in no log, and no mail scanner uses it."""
    return f"{public_url.rstrip('/')}/console/{name}#{secret}"

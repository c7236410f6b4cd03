"""What the console needs of other slices: sessions of keys and of users."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Sessions(Protocol):
    """Exchanges a credential for a browser session."""

    async def open(self, key: str) -> tuple[str, datetime]:
        """The secret and the expiry of a new session for an access key. Raises Unauthorized."""
        ...

    async def redeem(self, link: str) -> tuple[str, datetime]:
        """The same for a sign-in link, which can be used once. Raises Unauthorized."""
        ...

    async def close(self, secret: str) -> None: ...


class User(Protocol):
    @property
    def email(self) -> str: ...
    @property
    def first_name(self) -> str: ...
    @property
    def last_name(self) -> str: ...


class Org(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str | None: ...


class UserSession(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def method(self) -> str: ...
    @property
    def address(self) -> str | None: ...
    @property
    def client(self) -> str | None: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def current(self) -> bool: ...


class Account(Protocol):
    @property
    def user(self) -> User: ...
    @property
    def org_id(self) -> UUID: ...
    @property
    def orgs(self) -> Sequence[Org]: ...
    @property
    def sessions(self) -> Sequence[UserSession]: ...
    @property
    def has_password(self) -> bool: ...
    @property
    def has_identity(self) -> bool: ...


class People(Protocol):
    """How users sign in and out, and what they change in their own account. A session is returned as its secret and its
    expiry."""

    @property
    def provider(self) -> str | None:
        """The name of the OpenID Connect provider, or None."""
        ...

    @property
    def mails(self) -> bool:
        """Whether a forgotten password can be reset by mail."""
        ...

    def is_users(self, secret: str) -> bool:
        """Whether this is a user's session, and not an access key's."""
        ...

    async def with_password(self, email: str, password: str) -> tuple[str, datetime]:
        """Raises Unauthorized and RateLimited."""
        ...

    async def as_first_owner(
        self, link: str, email: str, password: str, first_name: str, last_name: str
    ) -> tuple[str, datetime]:
        """Raises NotFound, Conflict and BadRequest."""
        ...

    async def by_invitation(
        self, token: str, password: str | None, first_name: str, last_name: str
    ) -> tuple[str, datetime] | None:
        """None if the invited person already is a user. Raises NotFound and BadRequest."""
        ...

    async def begin(self, back: str) -> tuple[str, str, str]:
        """(URL to redirect the browser to, name and value of the cookie to set). Raises NotFound and Unavailable."""
        ...

    async def finish(self, answer: Mapping[str, str], kept: str | None) -> tuple[str, datetime, str]:
        """A session, and the path to redirect to. Raises Unauthorized, Forbidden, NotFound and Unavailable."""
        ...

    def forgot(self, email: str) -> None:
        """Raises NotFound if this server sends no mail."""
        ...

    async def reset(self, token: str, password: str) -> None:
        """Raises NotFound and BadRequest."""
        ...

    async def account(self, secret: str) -> Account:
        """Raises Unauthorized, like all methods below."""
        ...

    async def end(self, secret: str, session_id: UUID | None) -> None:
        """Ends a session; None ends all except this one. Raises NotFound."""
        ...

    async def change_password(self, secret: str, present: str, password: str) -> None:
        """Raises BadRequest and RateLimited."""
        ...

    async def switch(self, secret: str, org_id: UUID) -> None:
        """Raises NotFound."""
        ...

    async def leave(self, secret: str) -> str | None:
        """Ends a user's session. Returns the provider's logout URL, if it has one."""
        ...

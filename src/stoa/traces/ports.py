"""What traces need of other slices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from stoa.kernel.principal import Principal


class Projects(Protocol):
    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The project of the request. Raises BadRequest when the principal may not use it."""
        ...


class Apps(Protocol):
    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """The app's project. Raises NotFound."""
        ...


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for one that was stored under another key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered; a bounded part of its body."""

    status: int
    retry_after: str | None
    content_type: str
    body: bytes


class Post(Protocol):
    """Sends one request."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Answer:
        """Raises Undelivered."""
        ...


class Undelivered(Exception):
    """No answer came, or one that asks to try again."""

    def __init__(self, code: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds

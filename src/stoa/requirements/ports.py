"""What requirements need of their neighbours."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from stoa.requirements.types import Client


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for one that was stored under another key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Exchange(Protocol):
    """Asks the token endpoint of an OAuth2 service."""

    async def __call__(self, url: str, form: Mapping[str, str], client: Client, /) -> Mapping[str, Any]:
        """What it answered, with an `access_token`. Raises ExchangeFailed."""
        ...


class ExchangeFailed(Exception):
    """`refused`: the service answered, and said no."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused

"""What requirements need of other slices."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from stoa.requirements.types import Client


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError if another key encrypted the secret."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Exchange(Protocol):
    """Calls the token endpoint of an OAuth2 service."""

    async def __call__(self, url: str, form: Mapping[str, str], client: Client, /) -> Mapping[str, Any]:
        """The endpoint's response, which has an `access_token`. Raises ExchangeFailed."""
        ...


class ExchangeFailed(Exception):
    """`refused` means that the service has answered with a refusal."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused

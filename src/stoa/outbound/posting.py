"""One POST to an address that a tenant has named: a callback, an export. Every connection is opened by the guarded
connector, and no redirect is followed."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from stoa.outbound.dialing import Outbound, known_private
from stoa.outbound.errors import AddressRefused, refused

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Posted:
    """The response, with at most the requested bytes of its body."""

    status: int
    retry_after: str | None
    content_type: str
    body: bytes


class Undelivered(Exception):
    """No response, or one that asks for a retry. `code`: timeout, unreachable, address_refused, or the sender's
    own."""

    def __init__(self, code: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def retryable(self) -> bool:
        """False if the address may not be called at all."""
        return self.code != "address_refused"


class Post(Protocol):
    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Posted:
        """Raises Undelivered."""
        ...


class Poster:
    """Long-lived; `close` ends its connections."""

    def __init__(
        self, outbound: Outbound, *, connections_max: int, seconds_max: float, answer_bytes_max: int = 0
    ) -> None:
        self._outbound = outbound
        self._connections_max = connections_max
        self._seconds_max = seconds_max
        self._answer_bytes_max = answer_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Posted:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        if self._session is None:
            from stoa.outbound.client import client  # noqa: PLC0415

            self._session = client(self._outbound, connections_max=self._connections_max)
        host = urlsplit(url).hostname or ""
        if not self._outbound.allow_private and (known_private(host) or urlsplit(url).scheme != "https"):
            # The operator's setting may have changed since the address was stored.
            raise Undelivered("address_refused", str(AddressRefused(host)))
        try:
            async with (
                asyncio.timeout(self._seconds_max),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                answer = await response.content.read(self._answer_bytes_max) if self._answer_bytes_max else b""
                response.close()  # The rest of the body is not read.
                kind = response.headers.get("Content-Type", "")
                return Posted(response.status, response.headers.get("Retry-After"), kind, answer)
        except TimeoutError as error:
            raise Undelivered("timeout", f"No answer came within {self._seconds_max:g} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            from stoa.outbound.describing import failure  # noqa: PLC0415

            raise Undelivered("address_refused" if refused(error) else "unreachable", failure(error, url)) from error

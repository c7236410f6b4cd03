"""The POST of a callback. Every connection is opened by the guarded connector; nothing of the answer is kept but its
status, so that a callback cannot be used to read a private network."""

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stoa.callbacks import rules
from stoa.callbacks.ports import Undelivered
from stoa.outbound import AddressRefused, Outbound, cause, known_private

if TYPE_CHECKING:
    import aiohttp

CONNECTIONS_MAX = 50


class Sender:
    """Long-lived; `close` ends its connections."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> tuple[int, str | None]:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        if self._session is None:
            from stoa.outbound.client import client  # noqa: PLC0415

            self._session = client(self._outbound, connections_max=CONNECTIONS_MAX)
        host = urlsplit(url).hostname or ""
        if not self._outbound.allow_private and (known_private(host) or urlsplit(url).scheme != "https"):
            # The operator's setting may have changed since the run was started.
            raise Undelivered("address_refused", str(AddressRefused(host)), retryable=False)
        try:
            async with (
                asyncio.timeout(rules.POST_SECONDS_MAX),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                response.close()  # What else it says is not read.
                return response.status, response.headers.get("Retry-After")
        except TimeoutError as error:
            message = f"No answer came within {rules.POST_SECONDS_MAX:g} seconds."
            raise Undelivered("timeout", message) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _undelivered(host, error) from error


def _undelivered(host: str, error: Exception) -> Undelivered:
    found = cause(error)
    if isinstance(found, AddressRefused):
        return Undelivered("address_refused", str(found), retryable=False)
    if found is None and isinstance(getattr(error, "os_error", None), socket.gaierror):
        return Undelivered("unreachable", f"The host {host} cannot be resolved.")
    return Undelivered("unreachable", str(found or f"{host} cannot be reached: {type(error).__name__}."))

"""The POST of an export. Every connection is opened by the guarded connector; a redirect is not followed."""

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from stoa.outbound import AddressRefused, Outbound, cause, known_private
from stoa.traces.ports import Answer, Undelivered

if TYPE_CHECKING:
    import aiohttp

CONNECTIONS_MAX: Final = 20
POST_SECONDS_MAX: Final = 30.0
ANSWER_BYTES_MAX: Final = 64 * 1024


class Sender:
    """Long-lived; `close` ends its connections."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Answer:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        if self._session is None:
            from stoa.outbound.client import client  # noqa: PLC0415

            self._session = client(self._outbound, connections_max=CONNECTIONS_MAX)
        host = urlsplit(url).hostname or ""
        if not self._outbound.allow_private and (known_private(host) or urlsplit(url).scheme != "https"):
            # The operator's setting may have changed since the endpoint was named.
            raise Undelivered("address_refused", str(AddressRefused(host)))
        sent = {"User-Agent": "Stoa-OTLP/1", **headers, "Accept-Encoding": "identity"}
        try:
            async with (
                asyncio.timeout(POST_SECONDS_MAX),
                self._session.post(url, data=body, headers=sent, allow_redirects=False) as response,
            ):
                said = await response.content.read(ANSWER_BYTES_MAX)
                kind = response.headers.get("Content-Type", "")
                return Answer(response.status, response.headers.get("Retry-After"), kind, said)
        except TimeoutError as error:
            raise Undelivered("timeout", f"No answer came within {POST_SECONDS_MAX:g} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _undelivered(host, error) from error


def _undelivered(host: str, error: Exception) -> Undelivered:
    found = cause(error)
    if isinstance(found, AddressRefused):
        return Undelivered("address_refused", str(found))
    if found is None and isinstance(getattr(error, "os_error", None), socket.gaierror):
        return Undelivered("unreachable", f"The host {host} cannot be resolved.")
    return Undelivered("unreachable", str(found or f"{host} cannot be reached: {type(error).__name__}."))

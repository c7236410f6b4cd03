"""The HTTP client for everything but models' answers: it talks to public addresses alone, and to the address that it has just looked at.

Redirects are not followed: their target was not agreed on, and whoever wants to follow one checks it like a first address.
A module of its own, because aiohttp takes long to import: the server starts without it, and whoever calls out brings it in.
"""

import socket
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from stoa.outbound import AddressRefused, public

CONNECT_SECONDS_MAX: Final = 30.0
READ_BYTES: Final = 64 * 1024


class PublicResolver(AbstractResolver):
    """Gives public addresses only, unless private ones are allowed."""

    def __init__(self, *, allow_private: bool) -> None:
        self._inner = ThreadedResolver()
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not self._allow_private and not all(public(one["host"]) for one in found):
            raise AddressRefused(f"{host} leads to a private address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def client(
    *,
    allow_private: bool,
    connections_max: int = 200,
    seconds_max: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> aiohttp.ClientSession:
    """Keeps no cookies, reads no proxy settings of the environment, and sends every request once: deadlines are its users' own."""
    connector = aiohttp.TCPConnector(
        resolver=PublicResolver(allow_private=allow_private), limit=connections_max, use_dns_cache=False
    )
    timeout = aiohttp.ClientTimeout(total=seconds_max, connect=CONNECT_SECONDS_MAX)
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, timeout=timeout, headers=headers
    )
    # A GET, PUT or DELETE whose connection falls would be sent again unasked; whether a call may be repeated is the ledger's to say.
    session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return session


async def read_bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, or its first `bytes_max` + 1 bytes: enough to see that there are more."""
    content = bytearray()
    while len(content) <= bytes_max and (chunk := await response.content.read(READ_BYTES)):
        content += chunk
    return bytes(content[: bytes_max + 1])

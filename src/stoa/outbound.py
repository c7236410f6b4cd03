"""The way out: an HTTP client that talks to public addresses alone, and to the address that it has just looked at.

A name is resolved once per connection and the connection goes to an address that was checked, so a name that changes its
mind between the check and the call gains nothing. Redirects are not followed: their target was not agreed on, and whoever
wants to follow one checks it like a first address.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

CONNECT_SECONDS_MAX: Final = 30.0
READ_BYTES: Final = 64 * 1024


class AddressRefused(OSError):
    """The host leads to an address that the operator has not allowed."""


class PublicResolver(AbstractResolver):
    """Gives public addresses only, unless private ones are allowed."""

    def __init__(self, *, allow_private: bool) -> None:
        self._inner = ThreadedResolver()
        self._allow_private = allow_private

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not self._allow_private and not all(public(one["host"]) for one in found):
            raise AddressRefused(f"{host} leads to a private address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def public(address: str) -> bool:
    """Whether an address is one of the internet. An IPv4 address inside an IPv6 one is judged by itself."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def literal(host: str) -> bool:
    """Whether the host is written as an address; those never reach the resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def client(
    *, allow_private: bool, connections_max: int = 200, seconds_max: float | None = None, headers: Mapping[str, str] | None = None
) -> aiohttp.ClientSession:
    """Keeps no cookies, reads no proxy settings of the environment, and sends every request once: deadlines are its users' own."""
    connector = aiohttp.TCPConnector(resolver=PublicResolver(allow_private=allow_private), limit=connections_max, use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=seconds_max, connect=CONNECT_SECONDS_MAX)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, timeout=timeout, headers=headers)
    # A GET, PUT or DELETE whose connection falls would be sent again unasked; whether a call may be repeated is the ledger's to say.
    session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return session


def allowed(host: str, *, allow_private: bool) -> bool:
    """Whether this host may be called, as far as its name alone tells: the resolver judges what is no literal address."""
    return allow_private or not literal(host) or public(host)


async def read_bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, or its first `bytes_max` + 1 bytes: enough to see that there are more."""
    content = bytearray()
    while len(content) <= bytes_max and (chunk := await response.content.read(READ_BYTES)):
        content += chunk
    return bytes(content[: bytes_max + 1])


def refused(error: BaseException) -> bool:
    """Whether a failure of the client came of an address that is not allowed."""
    return any(isinstance(one, AddressRefused) for one in (error, error.__cause__, getattr(error, "os_error", None)))


async def addresses(host: str, port: int, *, allow_private: bool) -> Sequence[str]:
    """The host's addresses, for clients that connect by themselves: looked up once, all of them allowed. Raises AddressRefused or OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    given = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if not allow_private and not all(map(public, given)):
        raise AddressRefused(f"{host} leads to a private address")
    return given


def connect_public(host: str, port: int, *, allow_private: bool, seconds_max: float) -> socket.socket:
    """The same for clients that block: a connection to an address that was looked up once and checked. Raises AddressRefused or OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not allow_private and not all(public(str(address[0])) for *_, address in found):
        raise AddressRefused(f"{host} leads to a private address")
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found:
        made = socket.socket(family, kind, protocol)
        made.settimeout(seconds_max)
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise failure

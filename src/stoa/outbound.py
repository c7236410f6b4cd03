"""The way out: an HTTP client that talks to public addresses alone, and to the address that it has just looked at.

A name is resolved once per connection and the connection goes to an address that was checked, so a name that changes its
mind between the check and the call gains nothing. Redirects are not followed: their target was not agreed on, and whoever
wants to follow one checks it like a first address.
"""

import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


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


def client(*, allow_private: bool) -> aiohttp.ClientSession:
    """Keeps no cookies, reads no proxy settings of the environment."""
    connector = aiohttp.TCPConnector(resolver=PublicResolver(allow_private=allow_private), limit=200, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def refused(error: BaseException) -> bool:
    """Whether a failure of the client came of an address that is not allowed."""
    return any(isinstance(one, AddressRefused) for one in (error, error.__cause__, getattr(error, "os_error", None)))


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

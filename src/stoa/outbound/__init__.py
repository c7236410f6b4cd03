"""The way out: which addresses may be called. `stoa.outbound.client` is an HTTP client that calls no other.

A name is resolved once per connection and the connection goes to an address that was checked, so a name that changes its
mind between the check and the call gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence


class AddressRefused(OSError):
    """The host leads to an address that the operator has not allowed."""


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


def allowed(host: str, *, allow_private: bool) -> bool:
    """Whether this host may be called, as far as its name alone tells: the resolver judges what is no literal address."""
    return allow_private or not literal(host) or public(host)


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

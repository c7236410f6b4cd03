"""The one connector: every outbound connection of this node is opened here, and its address is checked just before
connecting.

A host is resolved once per connection, however it is written, and the connection goes to one of the addresses that were
checked. So neither DNS rebinding (a name that changes its addresses between check and call) nor an unusual spelling of
an address bypasses the check."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final, Self

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from stoa.kernel import descriptors
from stoa.outbound.addresses import public
from stoa.outbound.errors import AddressRefused, Crowded, OutboundError, ProxyFailed
from stoa.outbound.proxies import Proxies, Proxy

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long one address is tried before the next one is tried in parallel (RFC 8305)."""
TUNNEL_HEAD_BYTES_MAX: Final = 16 * 1024
TUNNEL_SECONDS_MAX: Final = 30.0
_DIRECT: Final = Proxies()


@dataclass(frozen=True, slots=True)
class Outbound:
    """Opens outbound connections.

    `allow_private`: private addresses may be called too: always for the operator's own endpoints, for tenants' if the
    operator allows it. `proxy_resolves`: the proxy resolves names itself and refuses private addresses. Otherwise this
    node does both, and asks the proxy for the checked address (docs/decisions/0024). `ca_file` and `ca_bundle` (PEM)
    are additional certificate authorities.
    """

    allow_private: bool = False
    proxies: Proxies = _DIRECT
    proxy_resolves: bool = False
    ca_file: str | None = None
    ca_bundle: str | None = None

    def trusted(self) -> Self:
        """For endpoints that the operator configured."""
        return replace(self, allow_private=True)

    def direct(self) -> Self:
        """Without a proxy."""
        return replace(self, proxies=_DIRECT)

    async def trusting(self, ca_bundle: str | None) -> Self:
        """Adds these certificate authorities (PEM). The TLS context is created in a thread, because reading the
        system's authorities takes some 10 ms."""
        if ca_bundle is None:
            return self
        made = replace(self, ca_bundle=ca_bundle)
        await asyncio.to_thread(made.tls)
        return made

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Self:
        proxies: dict[str, Any] = value.pop("proxies")
        https, http = (Proxy(**proxies[name]) if proxies[name] else None for name in ("https", "http"))
        return cls(**value, proxies=Proxies(https, http, tuple(proxies["exempt"])))

    def tls(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError among them) where a certificate authority cannot be read."""
        return _tls(self.ca_file, self.ca_bundle)

    async def connect(self, host: str, port: int, *, tls: bool) -> socket.socket:
        """A connected socket, through the proxy if there is one; the caller adds TLS.

        Raises OSError, AddressRefused and ProxyFailed among them.
        """
        proxy = self.proxies.choose(host, port, tls=tls)
        if proxy is None:
            return await _dialled(await self._judged(host, port))
        target = await self._for_proxy(host, port)
        try:
            async with asyncio.timeout(TUNNEL_SECONDS_MAX):
                sock = await _dialled(await self.resolve(proxy.host, proxy.port))
        except OSError as error:  # Also a TimeoutError.
            raise ProxyFailed(f"The proxy {proxy} cannot be reached: {type(error).__name__}.") from error
        try:
            async with asyncio.timeout(TUNNEL_SECONDS_MAX):
                await _tunnel(sock, proxy, target, port)
        except TimeoutError as error:
            sock.close()
            raise ProxyFailed(f"The proxy {proxy} did not connect in time.") from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def check(self, host: str, port: int, *, tls: bool) -> None:
        """Raises the errors of `connect` that can be detected without connecting."""
        if self.proxies.choose(host, port, tls=tls) is None:
            await self._judged(host, port)
        else:
            await self._for_proxy(host, port)

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """All addresses of a host. Raises OSError."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(_ascii(host), port, type=socket.SOCK_STREAM)
        except (ValueError, OverflowError) as error:
            raise OSError(f"{host[:100]} is no name of a host") from error
        if not found:
            raise OSError(f"{host} has no address")
        return found

    async def _judged(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The host's addresses, if all of them are allowed."""
        found = await self.resolve(host, port)
        if not self.allow_private and not all(public(str(address[0])) for *_, address in found):
            raise AddressRefused(host)
        return found

    async def _for_proxy(self, host: str, port: int) -> str:
        """The target of the proxy's CONNECT."""
        if self.allow_private:
            return _ascii(host)
        if self.proxy_resolves and _numeric(host) is None:
            return _ascii(host)
        try:
            found = await self._judged(host, port)
        except AddressRefused:
            raise
        except OSError as error:
            raise ProxyFailed(
                f"{host} cannot be resolved here, so it is not known whether the proxy would connect to a private "
                "address; an operator whose proxy refuses those sets STOA_PROXY_RESOLVES."
            ) from error
        address = str(found[0][4][0])
        return f"[{address}]" if ":" in address else address


def _ascii(host: str) -> str:
    """The host in plain ASCII digits, dots and letters, for the resolver. Raises OSError."""
    host = host.strip("[]")
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise OSError(f"{host[:100]} is no name of a host") from error


def _numeric(host: str) -> str | None:
    """The address, if the resolver reads the host as one, in any spelling: 0x7f.1, 2130706433, 127.1."""
    try:
        found = socket.getaddrinfo(_ascii(host).rstrip("."), 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return None
    return str(found[0][4][0])


def known_private(host: str) -> bool:
    """Whether this is a literal private address; a name is checked when it is called. Sends no request."""
    address = _numeric(host)
    return address is not None and not public(address)


async def _dialled(addresses: Sequence[AddressInfo]) -> socket.socket:
    """Raises OSError, including Crowded if only reserved file descriptors are left."""
    return await aiohappyeyeballs.start_connection(
        list(addresses), happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, socket_factory=_socket
    )


def _socket(address: AddrInfoType) -> socket.socket:  # pyright: ignore[reportUnknownParameterType]
    family, kind, protocol = address[:3]
    try:
        made = socket.socket(family=family, type=kind, proto=protocol)
    except OSError as error:
        if descriptors.exhausted(error):
            raise Crowded from error
        raise
    if not descriptors.of_call(made.fileno()):
        made.close()
        raise Crowded
    return made


async def _tunnel(sock: socket.socket, proxy: Proxy, target: str, port: int) -> None:
    """Asks a proxy to connect (RFC 9110, CONNECT). Raises ProxyFailed."""
    target = f"[{target}]" if ":" in target and not target.startswith("[") else target
    lines = [f"CONNECT {target}:{port} HTTP/1.1", f"Host: {target}:{port}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    loop = asyncio.get_running_loop()
    head = bytearray()
    try:
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            piece = await loop.sock_recv(sock, 4096)
            if not piece or len(head) > TUNNEL_HEAD_BYTES_MAX:
                raise ProxyFailed(f"The proxy {proxy} did not answer as a proxy does.")
            head += piece
    except OutboundError:
        raise
    except OSError as error:
        raise ProxyFailed(f"The proxy {proxy} closed the connection.") from error
    status = bytes(head).split(b"\n", 1)[0].split(b" ", 2)
    code = int(status[1]) if len(status) > 1 and status[1].strip().isdigit() and status[0].startswith(b"HTTP/") else 0
    if code == 407:
        raise ProxyFailed(f"The proxy {proxy} wants a user name and password (407), or another one than it was given.")
    if not 200 <= code < 300:
        raise ProxyFailed(
            f"The proxy {proxy} refused to connect to {target}:{port} (it answered {code or 'nonsense'})."
        )


@lru_cache(maxsize=64)
def _tls(ca_file: str | None, ca_bundle: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    if ca_bundle is not None:
        context.load_verify_locations(cadata=ca_bundle)
    return context

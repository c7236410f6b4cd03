"""Which proxy a call goes through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as curl and Go read them. Pure."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import unquote, urlsplit


class ProxySettingError(ValueError):
    """A proxy setting cannot be used; the sentence continues after the setting's name."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization."""

    host: str
    port: int
    authorization: str | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Of `http://user:password@host:port`; the scheme may be left out. Raises ProxySettingError."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or 3128
        except ValueError as error:
            raise ProxySettingError("is no URL of a proxy, such as http://proxy.example.com:3128") from error
        if parts.scheme != "http" or not parts.hostname:
            raise ProxySettingError(f"must be the http:// URL of a proxy that takes CONNECT, not {parts.scheme}://…")
        authorization = None
        if parts.username is not None:
            credential = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            authorization = f"Basic {base64.b64encode(credential).decode()}"
        return cls(parts.hostname, port, authorization)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxies:
    """`http` and `https` are the proxies for URLs of those schemes; `exempt` are the entries of NO_PROXY."""

    https: Proxy | None = None
    http: Proxy | None = None
    exempt: Sequence[str] = ()

    @classmethod
    def of(cls, https: str | None, http: str | None, no_proxy: str | None) -> Self:
        """Of the three settings as text. Raises ProxySettingError."""
        entries = re.split(r"[,\s]+", (no_proxy or "").lower())
        return cls(
            Proxy.of(https) if https else None, Proxy.of(http) if http else None, tuple(one for one in entries if one)
        )

    def choose(self, host: str, port: int, *, tls: bool) -> Proxy | None:
        """The proxy for a call to this host, or None for a direct connection."""
        proxy = self.https if tls else self.http
        if proxy is None or any(_matches(entry, host.lower().rstrip("."), port) for entry in self.exempt):
            return None
        return proxy


def _matches(entry: str, host: str, port: int) -> bool:
    """`*`, a name with all names below it (`.example.com` and `*.example.com` mean the same), an address, a network,
    each with a port or without.
    """
    if entry == "*":
        return True
    try:
        if "/" in entry:
            return ip_address(host) in ip_network(entry, strict=False)
        return ip_address(host) == ip_address(entry.strip("[]"))
    except ValueError:
        pass  # One of the two is a name, or the entry has a port.
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        return int(number) == port and _matches(name, host, port)
    name = entry.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))

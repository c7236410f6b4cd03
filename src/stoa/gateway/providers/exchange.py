"""The values of an exchange with a provider: address, timeouts, request, failures. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

ADDRESSES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `silence` is the longest gap between two pieces of a reply; reasoning models take long to begin."""

    connect: float = 10.0
    first_byte: float = 180.0
    silence: float = 90.0


class TransportError(Exception):
    """The exchange failed. `kind` is connect | timeout | silence | broken (closed or garbled before its end)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Origin:
    host: str
    port: int
    tls: bool
    ca_bundle: str | None = None
    """Additional certificate authorities. A connection that was opened with them is not shared."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL leads: `host` as the head of a request names it."""

    origin: Origin
    path: str
    query: str
    host: str


@lru_cache(ADDRESSES_MAX)
def address_of(url: str, ca_bundle: str | None) -> Address:
    """Cached, because there are few URLs."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    origin = Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls, ca_bundle if tls else None)
    return Address(origin, parts.path or "/", parts.query, parts.netloc.rpartition("@")[2])


def request_bytes(path: str, query: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path}{'?' + query if query else ''} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise TransportError("connect", f"the header {name} cannot hold a line break")
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

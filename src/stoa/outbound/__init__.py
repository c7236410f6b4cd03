"""Outbound connections: which addresses may be called, and through which proxy. `stoa.outbound.client` is the HTTP
client on top.
"""

from stoa.outbound.addresses import public
from stoa.outbound.dialing import Outbound, known_private
from stoa.outbound.errors import PRIVATE, AddressRefused, OutboundError, ProxyFailed, Untrusted, cause, refused
from stoa.outbound.origins import origin_of
from stoa.outbound.proxies import Proxies, Proxy, ProxySettingError

__all__ = [
    "PRIVATE",
    "AddressRefused",
    "Outbound",
    "OutboundError",
    "Proxies",
    "Proxy",
    "ProxyFailed",
    "ProxySettingError",
    "Untrusted",
    "cause",
    "known_private",
    "origin_of",
    "public",
    "refused",
]

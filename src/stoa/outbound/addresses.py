"""Which addresses are public. Pure.

IPv4: everything outside the ranges that IANA reserves for special purposes. IPv6: global unicast (2000::/3) outside
such ranges. An IPv6 address that embeds an IPv4 one is never public: mapped, compatible, translated (NAT64), 6to4 and
Teredo addresses all lie outside 2000::/3 or inside a listed range. The table is our own, because `ipaddress.is_global`
differs between versions of Python."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_PRIVATE_4: Final = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata is 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform address
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata is 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
_PRIVATE_6: Final = tuple(
    IPv6Network(one)
    for one in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address whose last quarter is an IPv4 address, under any prefix."""


def public(address: str) -> bool:
    """Whether a numeric address is public. Raises ValueError for other text."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _PRIVATE_4)
    return _public_6(found)


def _public_6(address: IPv6Address) -> bool:
    carries_ipv4 = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    return address in _GLOBAL_6 and not carries_ipv4 and not any(address in network for network in _PRIVATE_6)

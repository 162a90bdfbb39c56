"""Which IP addresses are public, private, or never to be connected to.

The tables follow IANA's registries of special-purpose addresses for IPv4 and IPv6 (state of October 2025). They are
separate from Python's `ipaddress`, whose tables change with its patch releases.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from enum import IntEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# The first address of a range as a number, and the number of bits after its prefix.
_Range = tuple[int, int]


class Reach(IntEnum):
    """Ordered: an address that contains another one has the larger value of the two."""

    PUBLIC = 0
    PRIVATE = 1
    # Metadata services, at which clouds serve credentials, and addresses that no server can have.
    NEVER = 2


def _ranges(*texts: str) -> tuple[_Range, ...]:
    nets = [ipaddress.ip_network(text) for text in texts]
    return tuple((int(net.network_address), net.max_prefixlen - net.prefixlen) for net in nets)


_NEVER_V4 = _ranges(
    "0.0.0.0/8",  # this network; Linux connects to itself
    "169.254.0.0/16",  # link-local, with the metadata services of most clouds
    "192.0.0.192/32",  # Oracle Cloud's metadata service
    "100.100.100.200/32",  # Alibaba Cloud's metadata service
    "168.63.129.16/32",  # Azure's platform service
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
_PRIVATE_V4 = _ranges(
    "10.0.0.0/8",
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # relays of 6to4, withdrawn
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
)
# Port control and TURN by anycast: the registry marks them as globally reachable.
_PUBLIC_V4 = _ranges("192.0.0.9/32", "192.0.0.10/32")

_NEVER_V6 = _ranges(
    "::/128",
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
    "fd00:ec2::/32",  # Amazon's instance services
    "fd20:ce::254/128",  # Google Cloud's metadata service
    "fd00:42::42/128",  # Scaleway's metadata service
)
# The only prefix of which unicast addresses are assigned. Everything outside it is private or unassigned.
_UNICAST_V6 = _ranges("2000::/3")
_PRIVATE_V6 = _ranges(
    "2001::/23",  # protocol assignments, with Teredo, benchmarks and ORCHID
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
)
_PUBLIC_V6 = _ranges(
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)

# IPv6 forms that contain an IPv4 address. Of the first two it alone decides; the others are private at least.
_MAPPED = _ranges("::ffff:0:0/96")
_NAT64 = _ranges("64:ff9b::/96")
_COMPATIBLE_OR_TRANSLATED = _ranges("::/96", "::ffff:0:0:0/96")
_LOCAL_NAT64 = _ranges("64:ff9b:1::/48")
_SIX_TO_FOUR = _ranges("2002::/16")
_TEREDO = _ranges("2001::/32")
_LOOPBACK_V6 = 1
# The upper half of an interface id of ISATAP, without the bit for globally unique IPv4 addresses.
_ISATAP = 0x0000_5EFE
_ISATAP_MASK = 0xFDFF_FFFF
# Prefix lengths at which RFC 6052 puts an IPv4 address behind the prefix for local translation.
_LOCAL_NAT64_PREFIXES = (48, 56, 64, 96)


def reach(ip: Address) -> Reach:
    """The reach of an address, with the IPv4 addresses that it contains."""
    number = int(ip)
    if ip.version == 4:
        return _reach_v4(number)
    if _within(number, _MAPPED) or _within(number, _NAT64):
        return _reach_v4(number & 0xFFFF_FFFF)
    return max(_reach_v6(number), *(_reach_v4(found) for found in _contained(number)), Reach.PUBLIC)


def _reach_v4(number: int) -> Reach:
    if _within(number, _NEVER_V4):
        return Reach.NEVER
    if _within(number, _PRIVATE_V4) and not _within(number, _PUBLIC_V4):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _reach_v6(number: int) -> Reach:
    if _within(number, _NEVER_V6):
        return Reach.NEVER
    if _within(number, _PUBLIC_V6):
        return Reach.PUBLIC
    if not _within(number, _UNICAST_V6) or _within(number, _PRIVATE_V6):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _contained(number: int) -> Iterator[int]:
    """The IPv4 addresses in an IPv6 address, as numbers."""
    last = number & 0xFFFF_FFFF
    if number == _LOOPBACK_V6:
        return
    if _within(number, _COMPATIBLE_OR_TRANSLATED):
        yield last
    elif _within(number, _SIX_TO_FOUR):
        yield number >> 80 & 0xFFFF_FFFF
    elif _within(number, _TEREDO):
        yield number >> 64 & 0xFFFF_FFFF
        yield last ^ 0xFFFF_FFFF
    elif _within(number, _LOCAL_NAT64):
        # The prefix of an installation is unknown. Zeros are the rest of a longer prefix, not an address.
        yield from (found for length in _LOCAL_NAT64_PREFIXES if (found := _translated(number, length)) >> 24)
    if (number >> 32 & _ISATAP_MASK) == _ISATAP:
        yield last


def _translated(number: int, prefix_length: int) -> int:
    """The IPv4 address behind a prefix of RFC 6052, which skips the bits 64 to 71."""
    if prefix_length == 96:
        return number & 0xFFFF_FFFF
    without_gap = (number >> 64) << 56 | number & (1 << 56) - 1
    return without_gap >> (120 - prefix_length - 32) & 0xFFFF_FFFF


def _within(number: int, ranges: tuple[_Range, ...]) -> bool:
    return any(number >> bits == first >> bits for first, bits in ranges)

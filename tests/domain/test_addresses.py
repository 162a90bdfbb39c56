"""The addresses that NOA can connect to, in all notations."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.addresses import checked_url, may_connect
from models_app.domain.errors import InvalidRequest

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "192.0.0.9",
    "192.0.0.10",
    "2606:4700:4700::1111",
    "2606:4700::5efe:8.8.8.8",
    "2001:20::1",
    "2001:4:112::1",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "fd12::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "198.18.0.1",
    "192.0.0.1",
    "192.0.0.170",
    "192.88.99.1",
    "203.0.113.5",
    "2002:808:808::",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "fec0::2",
    "3fff::1",
    "2001:db8::1",
    "5f00::1",
    "100::1",
    "100:0:0:1::1",
    "200::1",
    "4000::1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "::8.8.8.8",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:192.168.0.1",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "192.0.0.192",
    "100.100.100.200",
    "168.63.129.16",
    "240.0.0.1",
    "255.255.255.255",
    "fd20:ce::254",
    "fd00:42::42",
    "64:ff9b:1::a9fe:a9fe",
    "::ffff:0:a9fe:a9fe",
    "::169.254.169.254",
    "::255.255.255.255",
    "fd12::5efe:169.254.169.254",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_for_everybody(address: str) -> None:
    assert may_connect(address, allow_private=False)
    assert may_connect(address, allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_switch(address: str) -> None:
    assert not may_connect(address, allow_private=False)
    assert may_connect(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_for_nobody(address: str) -> None:
    assert not may_connect(address, allow_private=False)
    assert not may_connect(address, allow_private=True)


def _v6(number: int) -> str:
    return str(ipaddress.IPv6Address(number))


def _within(prefix: str, bits: int) -> Callable[[int], str]:
    """The address with the IPv4 address `number` behind the prefix, `bits` from the end."""
    first = int(ipaddress.IPv6Address(prefix))
    return lambda number: _v6(first | number << bits)


# Every form of IPv6 that contains an IPv4 address. Behind 64:ff9b:1:: the place depends on the installation's prefix.
EMBEDDINGS: dict[str, Callable[[int], str]] = {
    "mapped": _within("::ffff:0:0", 0),
    "translated": _within("::ffff:0:0:0", 0),
    "compatible": _within("::", 0),
    "nat64": _within("64:ff9b::", 0),
    "local nat64 /96": _within("64:ff9b:1:2:3:4::", 0),
    "local nat64 /64": _within("64:ff9b:1:2::", 24),
    "local nat64 /56": lambda v4: _v6(
        int(ipaddress.IPv6Address("64:ff9b:1:200::")) | v4 >> 24 << 64 | v4 % 2**24 << 32
    ),
    "local nat64 /48": lambda v4: _v6(int(ipaddress.IPv6Address("64:ff9b:1::")) | v4 >> 16 << 64 | v4 % 2**16 << 40),
    "6to4": _within("2002::", 80),
    "teredo client": lambda v4: _v6(int(ipaddress.IPv6Address("2001:0:808:808::")) | v4 ^ 0xFFFFFFFF),
    "teredo server": lambda v4: _v6(int(ipaddress.IPv6Address("2001::f7f7:f7f7")) | v4 << 64),
    "isatap": _within("2606:4700::5efe:0:0", 0),
    "isatap, unique": _within("2606:4700::200:5efe:0:0", 0),
}
IPV4 = st.integers(0, 2**32 - 1) | st.sampled_from([*PRIVATE, *NEVER]).filter(lambda text: ":" not in text).map(
    lambda text: int(ipaddress.IPv4Address(text))
)


@given(number=IPV4, form=st.sampled_from(sorted(EMBEDDINGS)), allow_private=st.booleans())
def test_an_address_that_contains_another_is_no_way_around_its_verdict(
    number: int, form: str, allow_private: bool
) -> None:
    # Zeros at the place of an address are part of a longer prefix: `64:ff9b:1::10.0.0.1` has three such places.
    inner = str(ipaddress.IPv4Address(number))
    if not may_connect(inner, allow_private=allow_private) and number >> 24:
        assert not may_connect(EMBEDDINGS[form](number), allow_private=allow_private)


# Ranges that IANA registers as globally reachable, and older tables of Python do not.
_LATER_PUBLIC = [ipaddress.ip_network(text) for text in ("192.0.0.9/32", "192.0.0.10/32", "2001::/23", "64:ff9b::/96")]


@given(number=st.integers(0, 2**32 - 1))
def test_no_ipv4_address_is_public_that_python_takes_for_special(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if may_connect(str(address), allow_private=False) and address not in _LATER_PUBLIC[0]:
        assert address.is_global or address in _LATER_PUBLIC[1]


@given(number=st.integers(0, 2**128 - 1) | st.integers(2**125, 2**126 - 1) | st.integers(0, 2**112))
def test_no_ipv6_address_is_public_that_python_takes_for_special(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    if may_connect(str(address), allow_private=False):
        mapped = address.ipv4_mapped
        assert (mapped or address).is_global or any(address in net for net in _LATER_PUBLIC if net.version == 6)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])
def test_private_ranges_end_where_the_registry_says(text: str) -> None:
    net = ipaddress.ip_network(text)
    for inside in (net[0], net[-1]):
        assert not may_connect(str(inside), allow_private=False)
    for outside in (net[0] - 1, net[-1] + 1):
        assert may_connect(str(outside), allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https://a b",
        "https://exämple.com",
        "https://user@example.com",
        "https://user:pass@example.com",
        "https://example.com/?a",
        "https://example.com/#a",
        "https://example.com:99999",
        "https://example.com:x",
        "http://[::1",
        "https://example.com/\n",
        "x" * 600,
        "gopher://127.0.0.1",
    ],
)
def test_what_is_no_address_is_refused_with_what_to_change(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url(url, allow_private=True)
    assert caught.value.code == "invalid_url"
    assert caught.value.param == "base_url"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3:8080", "[fd12::1]:80"])
def test_a_private_address_in_an_url_needs_the_switch(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url(f"http://{host}/v1")
    assert caught.value.code == "address_not_allowed"
    assert checked_url(f"http://{host}/v1", allow_private=True).path == "/v1"


def test_a_name_is_let_through_for_the_check_at_connect_time() -> None:
    assert checked_url("https://api.example.com/v1").hostname == "api.example.com"

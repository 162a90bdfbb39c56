"""The addresses that NOA can connect to, in all notations."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain import address_ranges
from models_app.domain.address_ranges import Reach, reach
from models_app.domain.addresses import address_refused, checked_url, may_connect
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
    "fe80::1%",
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


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com", "must be a whole address"),
        ("ftp://user@example.com", "must be a whole address"),
        ("https:///v1", "must be a whole address"),
        ("https://user@example.com", "must not contain a user name or a password"),
        ("https://:pass@example.com", "must not contain a user name or a password"),
        ("https://example.com/?a", "must not contain '?' or '#'"),
        ("https://example.com/?", "must not contain '?' or '#'"),
        ("https://example.com/#", "must not contain '?' or '#'"),
        ("https://example.com/#a?b", "must not contain '?' or '#'"),
        ("https://example.com:65536", "is not a valid URL"),
        ("http://[::1", "is not a valid URL"),
        ("https://example.com/ä", "must be printable ASCII without spaces, at most 500 characters"),
        ("https://example.com/a b", "must be printable ASCII without spaces, at most 500 characters"),
        ("https://example.com/\x7f", "must be printable ASCII without spaces, at most 500 characters"),
        ("https://example.com/" + "a" * 481, "must be printable ASCII without spaces, at most 500 characters"),
        ("https://exa$mple.com", "must be a whole address, like 'https://api.example.com/v1'"),
        ("https://example.com:0", "must be a whole address, like 'https://api.example.com/v1'"),
    ],
)
def test_the_refusal_of_an_url_says_what_to_change(url: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url(url, param="url")
    assert caught.value.message.startswith(f"'url' {message}")
    assert (caught.value.code, caught.value.param) == ("invalid_url", "url")


def test_an_url_has_up_to_500_characters() -> None:
    longest = "https://example.com/" + "a" * 480
    assert checked_url(longest).geturl() == longest


def test_the_refusal_of_an_address_names_the_field_and_the_setting() -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_url("http://10.0.0.1/v1", param="url")
    assert (caught.value.code, caught.value.param) == ("address_not_allowed", "url")
    assert caught.value.message == (
        "'url' leads to 10.0.0.1, an address that NOA does not connect to by default. If it is your own server in a"
        " private network, set 'allow_private_addresses' to true."
    )
    assert address_refused("::1").param == "base_url"


# Each range of the registries with the reach of its first and its last address, and of those before and behind it.
RANGES = [
    ("0.0.0.0/8", Reach.NEVER, None, Reach.PUBLIC),
    ("10.0.0.0/8", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("100.64.0.0/10", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("100.100.100.200/32", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("127.0.0.0/8", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("168.63.129.16/32", Reach.NEVER, Reach.PUBLIC, Reach.PUBLIC),
    ("169.254.0.0/16", Reach.NEVER, Reach.PUBLIC, Reach.PUBLIC),
    ("172.16.0.0/12", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("192.0.0.0/29", Reach.PRIVATE, Reach.PUBLIC, Reach.PRIVATE),
    ("192.0.0.9/32", Reach.PUBLIC, Reach.PRIVATE, Reach.PUBLIC),
    ("192.0.0.10/32", Reach.PUBLIC, Reach.PUBLIC, Reach.PRIVATE),
    ("192.0.0.192/32", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("192.0.2.0/24", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("192.88.99.0/24", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("192.168.0.0/16", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("198.18.0.0/15", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("198.51.100.0/24", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("203.0.113.0/24", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("224.0.0.0/4", Reach.NEVER, Reach.PUBLIC, Reach.NEVER),
    ("240.0.0.0/4", Reach.NEVER, Reach.NEVER, None),
    ("::/128", Reach.NEVER, None, Reach.PRIVATE),
    # Behind it is Teredo with the server 0.0.0.0.
    ("2000::/16", Reach.PUBLIC, Reach.PRIVATE, Reach.NEVER),
    ("2001:1::1/128", Reach.PUBLIC, Reach.PRIVATE, Reach.PUBLIC),
    ("2001:1::3/128", Reach.PUBLIC, Reach.PUBLIC, Reach.PRIVATE),
    ("2001:3::/32", Reach.PUBLIC, Reach.PRIVATE, Reach.PRIVATE),
    ("2001:4:112::/48", Reach.PUBLIC, Reach.PRIVATE, Reach.PRIVATE),
    ("2001:20::/28", Reach.PUBLIC, Reach.PRIVATE, Reach.PUBLIC),
    ("2001:30::/28", Reach.PUBLIC, Reach.PUBLIC, Reach.PRIVATE),
    ("2001:db8::/32", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("3fff::/20", Reach.PRIVATE, Reach.PUBLIC, Reach.PUBLIC),
    ("fd00:42::42/128", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("fd00:ec2::/32", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("fd20:ce::254/128", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("fe80::/10", Reach.NEVER, Reach.PRIVATE, Reach.PRIVATE),
    ("ff00::/8", Reach.NEVER, Reach.PRIVATE, None),
]


@pytest.mark.parametrize(("text", "inside", "before", "behind"), RANGES)
def test_a_range_ends_where_the_registry_says(
    text: str, inside: Reach, before: Reach | None, behind: Reach | None
) -> None:
    net = ipaddress.ip_network(text)
    assert (reach(net[0]), reach(net[-1])) == (inside, inside)
    assert before is None or reach(net[0] - 1) is before
    assert behind is None or reach(net[-1] + 1) is behind


V4 = ("1.1.1.1", "10.0.0.1", "169.254.169.254", "172.31.255.255", "192.168.1.255", "223.255.255.254")


@pytest.mark.parametrize("inner", V4)
@pytest.mark.parametrize("form", sorted(EMBEDDINGS))
def test_an_address_is_at_least_as_close_as_those_that_it_contains(form: str, inner: str) -> None:
    number = int(ipaddress.IPv4Address(inner))
    outer = ipaddress.IPv6Address(EMBEDDINGS[form](number))
    public = form in ("mapped", "nat64", "isatap", "isatap, unique")
    expected = max(Reach.PUBLIC if public else Reach.PRIVATE, reach(ipaddress.IPv4Address(inner)))
    # Behind 64:ff9b:1:: three other places can hold an address as well.
    assert reach(outer) is expected or (form.startswith("local") and reach(outer) > expected)


# Single addresses, which are the only ones of their kind in whatever place they are searched.
@pytest.mark.parametrize("inner", ["100.100.100.200", "168.63.129.16", "192.0.0.192"])
@pytest.mark.parametrize("form", [form for form in sorted(EMBEDDINGS) if form.startswith("local")])
def test_an_address_for_local_translation_is_read_at_its_place(form: str, inner: str) -> None:
    number = int(ipaddress.IPv4Address(inner))
    for value, expected in ((number, Reach.NEVER), (number - 1, Reach.PRIVATE), (number + 1, Reach.PRIVATE)):
        assert reach(ipaddress.IPv6Address(EMBEDDINGS[form](value))) is expected


def test_a_range_is_its_first_address_and_the_bits_behind_its_prefix() -> None:
    found = address_ranges._ranges("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::/0")
    assert found == ((10 << 24, 24), (0xC0000201, 0), (0x20010DB8 << 96, 96), (0, 128))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("2606:4700::1:5efe:10.0.0.1", Reach.PUBLIC),
        ("2606:4700::400:5efe:10.0.0.1", Reach.PUBLIC),
        ("2606:4700::5eff:10.0.0.1", Reach.PUBLIC),
        ("2606:4700::10.0.0.1", Reach.PUBLIC),
        ("64:ff9b:0:1::10.0.0.1", Reach.PRIVATE),
        ("64:ff9b:2::a9fe:a9fe", Reach.PRIVATE),
        ("64:ff9b:1::10.0.0.1", Reach.PRIVATE),
        # The eight bits in the middle are no part of the address, whatever they hold.
        ("64:ff9b:1:6464:164:c800::", Reach.NEVER),
        ("64:ff9b:1:6464:ff64:c800::", Reach.NEVER),
        ("64:ff9b:1:64:ff64:64c8::", Reach.NEVER),
        ("64:ff9b:1:0:ff64:6464:c800::", Reach.NEVER),
    ],
)
def test_a_part_that_looks_like_an_address_counts_only_in_its_form(address: str, expected: Reach) -> None:
    assert reach(ipaddress.IPv6Address(address)) is expected

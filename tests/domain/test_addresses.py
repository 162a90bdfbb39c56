"""The addresses that NOA can connect to, in all notations."""

from __future__ import annotations

import pytest

from models_app.domain.addresses import checked_url, may_connect
from models_app.domain.errors import InvalidRequest

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
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
    "240.0.0.1",
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

"""The addresses of nodes: which are accepted, and which can be trusted."""

from __future__ import annotations

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.nodes import FORWARDED, NodeAddress, is_any, is_loopback

LONGEST = "a" * 253


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://10.0.0.2:8790", NodeAddress("10.0.0.2", 8790, True)),
        ("https://gpu-1.example.org:1", NodeAddress("gpu-1.example.org", 1, True)),
        ("https://[fd00::1]:65535", NodeAddress("fd00::1", 65535, True)),
        (f"https://{LONGEST}:80", NodeAddress(LONGEST, 80, True)),
        ("https://a:80", NodeAddress("a", 80, True)),
        ("http://127.0.0.1:8790", NodeAddress("127.0.0.1", 8790, False)),
        ("http://127.9.9.9:8790", NodeAddress("127.9.9.9", 8790, False)),
        ("http://[::1]:8790", NodeAddress("::1", 8790, False)),
        ("http://localhost:8790", NodeAddress("localhost", 8790, False)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: NodeAddress) -> None:
    assert NodeAddress.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "10.0.0.2:8790",
        "ftp://10.0.0.2:8790",
        "ftp://127.0.0.1:8790",
        "HTTPS://10.0.0.2:8790",
        "https:10.0.0.2:8790",
        "https://10.0.0.2",
        "https://10.0.0.2:",
        "https://10.0.0.2:65536",
        "https://10.0.0.2:123456",
        "https://user@10.0.0.2:8790",
        "https://10.0.0.2:8790/",
        "https://10.0.0.2:8790?a",
        "https://a.:8790",
        "https://-a:8790",
        f"https://{LONGEST}a:80",
        # Without TLS only this machine is trusted, and names other than localhost can lead anywhere.
        "http://10.0.0.2:8790",
        "http://0.0.0.0:8790",
        "http://gpu-1:8790",
        "http://localhost.example.org:8790",
    ],
)
def test_an_address_that_cannot_be_trusted_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        NodeAddress.parse(text)


def test_the_error_quotes_the_beginning_of_a_long_address() -> None:
    with pytest.raises(InvalidRequest) as refused:
        NodeAddress.parse("http://" + "9" * 93 + "b" * 50 + ":1")
    assert refused.value.message == f"'http://{'9' * 93}' is not a trusted address of a node."
    with pytest.raises(InvalidRequest) as refused:
        NodeAddress.listening("9" * 100 + "b" * 50, is_tls=True)
    assert refused.value.message == f"'{'9' * 100}' is not 'host:port', like '10.0.0.2:8790'."


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_node_listens_on_any_address(is_tls: bool) -> None:
    assert NodeAddress.listening("0.0.0.0:8790", is_tls=is_tls) == NodeAddress("0.0.0.0", 8790, is_tls)
    assert NodeAddress.listening("[::]:0", is_tls=is_tls) == NodeAddress("::", 0, is_tls)


@pytest.mark.parametrize(
    ("host", "loopback", "wildcard"),
    [
        ("127.0.0.1", True, False),
        ("127.255.255.254", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("128.0.0.1", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("localhost2", False, False),
        ("", False, False),
    ],
)
def test_which_addresses_stay_on_this_machine(host: str, loopback: bool, wildcard: bool) -> None:
    assert (is_loopback(host), is_any(host)) == (loopback, wildcard)
    assert NodeAddress(host, 1, True).is_loopback == loopback


def test_a_node_forwards_no_request_that_ends_a_runner() -> None:
    assert set(FORWARDED) == {"health", "v1/models", "v1/chat/completions", "v1/completions", "v1/embeddings"}
    assert {path for path, method in FORWARDED.items() if method == "GET"} == {"health", "v1/models"}

"""The gateway connects to a provider only at addresses that it has just checked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.upstream.dialing import Dialer, Origin
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CHAT, Names, drop_idle, entry, serve_remote
from tests.gateway.wire import Served

pytestmark = pytest.mark.wide

KEY = "named:gpt-4o"
METADATA = ("169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::ffff:169.254.169.254")
PRIVATE = ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "::1", "fc00::1", "100.64.0.1")
DISGUISED = ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def named(fake: FakeOpenAI, *, allow_private: bool) -> RemoteEndpoint:
    return RemoteEndpoint(
        provider="named",
        kind=ProviderKind.OPENAI,
        base_url=f"http://provider.example:{fake.port}/v1",
        model_id="gpt-4o",
        api_key=fake.key,
        allow_private=allow_private,
    )


def serve_named(names: Names, fake: FakeOpenAI, allow_private: bool) -> Iterator[Served]:
    fake.reset()
    remote = named(fake, allow_private=allow_private)
    with serve_remote(entry(KEY, remote), dialer=Dialer(names)) as served:
        yield served


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def served(names: Names, fake: FakeOpenAI) -> Iterator[Served]:
    yield from serve_named(names, fake, allow_private=False)


@pytest.fixture
def permitted(names: Names, fake: FakeOpenAI) -> Iterator[Served]:
    yield from serve_named(names, fake, allow_private=True)


@pytest.mark.parametrize("address", [*METADATA, *PRIVATE, *DISGUISED])
def test_a_name_that_leads_inside_is_refused(served: Served, names: Names, fake: FakeOpenAI, address: str) -> None:
    names.answers["provider.example"] = [[address]]
    answer = served.post({"model": KEY, **CHAT})
    assert (answer.status, answer.code) == (502, "address_not_allowed")
    assert not fake.requests


@pytest.mark.parametrize("address", METADATA)
def test_addresses_of_credentials_are_refused_whatever_is_allowed(
    permitted: Served, names: Names, fake: FakeOpenAI, address: str
) -> None:
    names.answers["provider.example"] = [[address]]
    assert permitted.post({"model": KEY, **CHAT}).code == "address_not_allowed"


def test_one_forbidden_address_among_good_ones_is_enough(permitted: Served, names: Names, fake: FakeOpenAI) -> None:
    names.answers["provider.example"] = [["127.0.0.1", "169.254.169.254"]]
    assert permitted.post({"model": KEY, **CHAT}).code == "address_not_allowed"
    assert not fake.requests


def test_a_private_address_that_is_allowed_is_asked_under_its_name(
    permitted: Served, names: Names, fake: FakeOpenAI
) -> None:
    assert permitted.post({"model": KEY, **CHAT}).status == 200
    assert fake.requests[0].headers["host"] == f"provider.example:{fake.port}"


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(
    permitted: Served, names: Names, fake: FakeOpenAI
) -> None:
    names.answers["provider.example"] = [["127.0.0.1"], ["169.254.169.254"]]
    assert permitted.post({"model": KEY, **CHAT}).status == 200
    assert names.asked == ["provider.example"]


def test_the_next_connection_is_checked_anew(permitted: Served, names: Names, fake: FakeOpenAI) -> None:
    names.answers["provider.example"] = [["127.0.0.1"], ["169.254.169.254"]]
    assert permitted.post({"model": KEY, **CHAT}).status == 200
    drop_idle(permitted)
    assert permitted.post({"model": KEY, **CHAT}).code == "address_not_allowed"


def test_a_dead_address_is_passed_over(permitted: Served, names: Names, fake: FakeOpenAI) -> None:
    names.answers["provider.example"] = [["127.0.0.2", "::1", "127.0.0.1"]]
    assert permitted.post({"model": KEY, **CHAT}).status == 200


def test_a_name_that_is_not_known_is_unreachable(served: Served, names: Names) -> None:
    names.answers["provider.example"] = [[]]
    answer = served.post({"model": KEY, **CHAT})
    assert (answer.status, answer.code) == (502, "provider_unreachable")


@pytest.mark.parametrize(
    ("url", "port", "authority", "prefix"),
    [
        ("https://api.example.com/v1", 443, "api.example.com", "/v1"),
        ("http://api.example.com", 80, "api.example.com", ""),
        ("http://host:8080/a/b/", 8080, "host:8080", "/a/b"),
        ("http://[2001:db8::1]:8080/v1", 8080, "[2001:db8::1]:8080", "/v1"),
    ],
)
def test_a_base_url_says_where_requests_go(url: str, port: int, authority: str, prefix: str) -> None:
    origin = Origin.of(url, False)
    assert (origin.port, origin.authority, origin.prefix) == (port, authority, prefix)


def test_connections_are_never_shared_between_providers_or_permissions() -> None:
    origins = [Origin.of("https://a.example", allowed) for allowed in (False, True)]
    assert len({origin.pool(slug) for origin in origins for slug in ("one", "two")}) == 4

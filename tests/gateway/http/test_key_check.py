"""The check of a key by itself: headers, expiry, addresses, scopes, and requests that are in flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from models_app.domain.errors import NoaError, PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import KeyEntry, Snapshot, hash_api_key
from models_app.gateway.http import auth
from models_app.gateway.http.auth import KeysInUse, UnknownKey

Headers = Mapping[bytes, bytes]
KEY, LONGEST = "noa_0123", "k" * 512
CLIENT, NOW = "10.0.0.1", 1000.0
INFER = frozenset({"infer"})
PLAIN = KeyEntry("plain", INFER, None)
BOUND = KeyEntry("bound", INFER, NOW + 5, limits=KeyLimits(addresses=("10.0.0.0/8",)))


def checked(headers: Headers, entry: KeyEntry = PLAIN, client: str = CLIENT, now: float = NOW) -> KeyEntry:
    known = {
        hash_api_key(KEY): entry,
        hash_api_key(LONGEST): entry,
        hash_api_key("k\xe9y"): entry,
        hash_api_key("k"): entry,
    }
    return auth.authenticate(headers, client, known, now)


def code_of(call: Callable[[], object]) -> tuple[type[NoaError], str]:
    with pytest.raises(NoaError) as error:
        call()
    return type(error.value), error.value.code


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer noa_0123"},
        {b"authorization": b"bEARER   noa_0123  "},
        {b"x-api-key": b"noa_0123"},
        {b"x-api-key": b" noa_0123 "},
        {b"authorization": b"Bearer noa_0123", b"x-api-key": b"noa_other"},
        {b"authorization": b"Bearer " + LONGEST.encode()},
        {b"authorization": b"Bearer k\xe9y"},
        {b"authorization": b"Bearer k"},
    ],
)
def test_a_key_is_read_from_either_header(headers: Headers) -> None:
    assert auth.has_key(headers)
    assert checked(headers) is PLAIN


MALFORMED = (Unauthenticated, "invalid_api_key")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (Unauthenticated, "missing_api_key")),
        ({b"cookie": b"noa_0123"}, (Unauthenticated, "missing_api_key")),
        ({b"authorization": b""}, MALFORMED),
        ({b"authorization": b"Bearer"}, MALFORMED),
        ({b"authorization": b"Bearer  "}, MALFORMED),
        ({b"x-api-key": b""}, MALFORMED),
        ({b"authorization": b"Basic noa_0123"}, MALFORMED),
        ({b"authorization": b"noa_0123"}, MALFORMED),
        ({b"authorization": b"Bearer noa_0123 noa_0123"}, MALFORMED),
        ({b"authorization": b"Bearer noa_0123,noa_0123"}, MALFORMED),
        ({b"authorization": b"Bearer noa_0123,"}, MALFORMED),
        ({b"authorization": b"", b"x-api-key": b"noa_0123"}, MALFORMED),
        ({b"authorization": b"Bearer " + LONGEST.encode() + b"k"}, MALFORMED),
        ({b"authorization": b"Bearer noa_012"}, (UnknownKey, "invalid_api_key")),
        ({b"authorization": b"Bearer NOA_0123"}, (UnknownKey, "invalid_api_key")),
    ],
)
def test_other_headers_are_refused(headers: Headers, expected: tuple[type[NoaError], str]) -> None:
    assert auth.has_key(headers) is (b"authorization" in headers or b"x-api-key" in headers)
    assert code_of(lambda: checked(headers)) == expected


HEADERS = {b"authorization": b"Bearer noa_0123"}


def test_a_key_is_valid_until_the_moment_of_its_expiry() -> None:
    assert checked(HEADERS, BOUND, now=NOW + 4.999) is BOUND
    for now in (NOW + 5, NOW + 6):
        assert code_of(partial(checked, HEADERS, BOUND, now=now)) == (Unauthenticated, "expired_api_key")


def test_a_bound_key_is_valid_from_its_addresses_only() -> None:
    assert checked(HEADERS, BOUND, client="10.9.9.9") is BOUND
    for client in ("11.0.0.1", "", "::1"):
        expected = (PermissionDenied, "address_not_allowed")
        assert code_of(partial(checked, HEADERS, BOUND, client=client)) == expected
        assert checked(HEADERS, PLAIN, client=client) is PLAIN


@pytest.mark.parametrize(
    ("scope", "client"),
    [
        ({"client": ("192.0.2.1", 5)}, "192.0.2.1"),
        ({"client": ["::1", 0]}, "::1"),
        ({"client": None}, ""),
        ({}, ""),
        ({"client": ("", 0)}, ""),
    ],
)
def test_the_client_is_the_first_part_of_its_address(scope: dict[str, object], client: str) -> None:
    assert auth.client_of(scope) == client


@pytest.mark.parametrize(
    ("granted", "sufficient"),
    [
        (INFER, {Scope.INFER}),
        (frozenset({"operate"}), {Scope.OPERATE, Scope.READ}),
        (frozenset({"admin"}), set(Scope)),
        (frozenset(), set()),
    ],
)
def test_a_key_needs_the_scope_of_what_it_does(granted: frozenset[str], sufficient: set[Scope]) -> None:
    entry = KeyEntry("key", granted, None)
    for scope in Scope:
        if scope in sufficient:
            auth.require(entry, scope)
        else:
            with pytest.raises(PermissionDenied, match=f"lacks the scope '{scope}'"):
                auth.require(entry, scope)


def snapshot(*entries: KeyEntry) -> Snapshot:
    return Snapshot(1, keys={hash_api_key(f"text of {entry.key_id}"): entry for entry in entries})


def test_a_request_in_flight_goes_on_while_its_key_is_good() -> None:
    keys, known = KeysInUse(), snapshot(PLAIN, BOUND)
    assert keys.problem(known, "plain", "11.0.0.1", NOW) is None
    assert keys.problem(known, "bound", CLIENT, NOW) is None
    assert keys.problem(known, "bound", CLIENT, NOW + 4.999) is None


@pytest.mark.parametrize(
    ("entry", "client", "now", "expected"),
    [
        (None, CLIENT, NOW, (Unauthenticated, "invalid_api_key")),
        (BOUND, CLIENT, NOW + 5, (Unauthenticated, "invalid_api_key")),
        (BOUND, CLIENT, NOW + 6, (Unauthenticated, "invalid_api_key")),
        (BOUND, "11.0.0.1", NOW, (PermissionDenied, "address_not_allowed")),
        (KeyEntry("bound", frozenset({"read"}), None), CLIENT, NOW, (PermissionDenied, "permission_denied")),
    ],
)
def test_a_request_in_flight_ends_with_its_key(
    entry: KeyEntry | None, client: str, now: float, expected: tuple[type[NoaError], str]
) -> None:
    keys = KeysInUse()
    assert keys.problem(snapshot(PLAIN, BOUND), "bound", CLIENT, NOW) is None
    problem = keys.problem(snapshot(PLAIN, *([entry] if entry else [])), "bound", client, now)
    assert problem is not None
    assert (type(problem), problem.code) == expected


def test_the_newest_snapshot_counts_and_a_renewed_key_is_the_same_key() -> None:
    keys, known = KeysInUse(), snapshot(PLAIN)
    assert keys.problem(known, "bound", CLIENT, NOW) is not None
    assert keys.problem(snapshot(PLAIN, BOUND), "bound", CLIENT, NOW) is None
    renewed = Snapshot(1, keys={hash_api_key("a new text"): BOUND})
    assert keys.problem(renewed, "bound", CLIENT, NOW) is None
    assert keys.problem(known, "bound", CLIENT, NOW) is not None
    assert keys.problem(known, "plain", CLIENT, NOW) is None


class Counted(dict[str, KeyEntry]):
    """Keys that count how often all of them are read."""

    reads = 0

    def values(self) -> Any:
        self.reads += 1
        return super().values()


def test_the_keys_of_a_snapshot_are_read_once() -> None:
    keys, entries = KeysInUse(), Counted({"digest": PLAIN})
    known = Snapshot(1, keys=entries)
    for _ in range(5):
        assert keys.problem(known, "plain", CLIENT, NOW) is None
    assert entries.reads == 1


def test_a_request_that_is_ended_is_answered_with_the_reason() -> None:
    problem = KeysInUse().problem(snapshot(), "plain", CLIENT, NOW)
    assert problem is not None
    assert problem.message == "This API key was revoked, or it expired, during the request, which was ended."

"""API keys: which are accepted, and the errors for the others."""

from __future__ import annotations

import dataclasses

import pytest

from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import EXPIRED_KEY, KEY, READER_KEY, Served, request, snapshot

BAD_AUTHORIZATION = {
    "none": ("", "missing_api_key"),
    "no_key": ("Bearer", "invalid_api_key"),
    "empty_key": ("Bearer ", "invalid_api_key"),
    "basic": ("Basic dXNlcjpwYXNz", "invalid_api_key"),
    "no_scheme": (KEY, "invalid_api_key"),
    "wrong_key": ("Bearer noa_wrong", "invalid_api_key"),
    "prefix_of_a_key": (f"Bearer {KEY[:-1]}", "invalid_api_key"),
    "key_and_more": (f"Bearer {KEY}x", "invalid_api_key"),
    "two_words": (f"Bearer {KEY} {KEY}", "invalid_api_key"),
    "two_keys": (f"Bearer {KEY},{KEY}", "invalid_api_key"),
    "upper_case_key": (f"Bearer {KEY.upper()}", "invalid_api_key"),
    "ten_kib": ("Bearer " + "x" * 10_240, "invalid_api_key"),
    "not_ascii": ("Bearer schlüssel", "invalid_api_key"),
    "sql": ("Bearer ' OR 1=1 --", "invalid_api_key"),
    "a_hash": ("Bearer " + "0" * 64, "invalid_api_key"),
    "expired": (f"Bearer {EXPIRED_KEY}", "expired_api_key"),
    "tab": (f"Bearer\t{KEY}", "invalid_api_key"),
    "quoted": (f'Bearer "{KEY}"', "invalid_api_key"),
}


@pytest.mark.parametrize(("value", "code"), BAD_AUTHORIZATION.values(), ids=BAD_AUTHORIZATION.keys())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_it_lets_nobody_in_without_a_good_key(
    gateway: Served, upstream: FakeUpstream, path: str, value: str, code: str
) -> None:
    method, body = ("GET", b"") if path == "/v1/models" else ("POST", b'{"model": "current"}')
    answer = gateway.ask(request(body, path, method=method, authorization=value), method)
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert KEY.encode() not in answer.body
    assert not upstream.exchanges


def test_a_key_that_was_made_a_moment_ago_is_known(gateway: Served, upstream: FakeUpstream) -> None:
    before = snapshot(upstream.path)
    made = {hash_api_key("noa_new"): KeyEntry("key-9", frozenset({"infer"}), None)}
    gateway.source.next = dataclasses.replace(before, keys={**before.keys, **made})
    gateway.gateway._key_refresher._next = 0.0
    assert gateway.post({"model": "current"}, authorization="Bearer noa_new").status == 200
    assert len(gateway.source.reasons) == 1


def test_a_flood_of_unknown_keys_does_not_reach_the_database(gateway: Served) -> None:
    for _ in range(50):
        assert gateway.post({"model": "current"}, authorization="Bearer noa_wrong").status == 401
    assert len(gateway.source.reasons) <= 5


def test_it_refuses_two_authorization_headers_even_when_both_are_good(gateway: Served) -> None:
    data = request({"model": "current"}).replace(
        b"\r\ncontent-type", f"\r\nauthorization: Bearer {KEY}\r\ncontent-type".encode()
    )
    assert gateway.ask(data).status == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_matched_in_any_case(gateway: Served, scheme: str) -> None:
    assert gateway.post({"model": "current"}, authorization=f"{scheme} {KEY}").status == 200


def test_a_key_in_the_query_or_in_a_cookie_does_not_count(gateway: Served) -> None:
    data = request(
        {"model": "current"},
        f"/v1/chat/completions?api_key={KEY}",
        authorization="",
        cookie=f"api_key={KEY}",
    )
    assert gateway.ask(data).status == 401


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_a_key_without_the_scope_may_not_infer(gateway: Served, path: str) -> None:
    method, body = ("GET", b"") if path == "/v1/models" else ("POST", b'{"model": "current"}')
    answer = gateway.ask(request(body, path, method=method, authorization=f"Bearer {READER_KEY}"), method)
    assert (answer.status, answer.code) == (403, "permission_denied")
    assert "'infer'" in answer.json["error"]["message"]


def test_a_refused_key_is_recorded(gateway: Served) -> None:
    gateway.post({"model": "current"}, authorization="Bearer noa_wrong", x_request_id="wrong-key")
    record = gateway.record_of("wrong-key")
    assert (record.status, record.error_code, record.key_id, record.attempts) == (
        401,
        "invalid_api_key",
        "",
        0,
    )


def test_a_key_that_is_revoked_stops_with_the_next_snapshot(gateway: Served) -> None:
    gateway.works()
    now = gateway.source.current
    gateway.source.current = type(now)(revision=2, routes=now.routes, models=now.models, keys={})
    assert gateway.post({"model": "current"}).status == 401

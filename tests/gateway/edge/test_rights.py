"""The matrix of rights at the gateway: each path by each kind of key, and keys that end during a request."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.scopes import Scope
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import KeyEntry, Snapshot, hash_api_key
from models_app.gateway.edge.app import ENDPOINTS
from tests.fakes.upstream import DEADLINE, FakeUpstream
from tests.gateway.wire import CHAT, COLD, EMBEDDER, KEY, Answer, Served, request, snapshot

HERE, ELSEWHERE = KeyLimits(addresses=("127.0.0.0/8",)), KeyLimits(addresses=("203.0.113.0/24", "2001:db8::/32"))
INFER = frozenset({"infer"})
_EXPIRED = 1.0

# The answer to each key: None is permitted, otherwise status and code.
CALLERS: dict[str, tuple[KeyEntry | None, tuple[int, str] | None]] = {
    "no key": (None, (401, "missing_api_key")),
    "unknown": (None, (401, "invalid_api_key")),
    "infer": (KeyEntry("k", INFER, None), None),
    "admin": (KeyEntry("k", frozenset({"admin"}), None), None),
    "read": (KeyEntry("k", frozenset({"read"}), None), (403, "permission_denied")),
    "operate": (KeyEntry("k", frozenset({"operate"}), None), (403, "permission_denied")),
    "metrics": (KeyEntry("k", frozenset({"metrics:read"}), None), (403, "permission_denied")),
    "expired": (KeyEntry("k", INFER, _EXPIRED), (401, "expired_api_key")),
    "bound to this address": (KeyEntry("k", INFER, None, limits=HERE), None),
    "bound to other addresses": (KeyEntry("k", INFER, None, limits=ELSEWHERE), (403, "address_not_allowed")),
    "admin, bound to other addresses": (
        KeyEntry("k", frozenset({"admin"}), None, limits=ELSEWHERE),
        (403, "address_not_allowed"),
    ),
    # The address is checked before the scope.
    "read, bound to other addresses": (
        KeyEntry("k", frozenset({"read"}), None, limits=ELSEWHERE),
        (403, "address_not_allowed"),
    ),
}
READS = ("/v1/models", f"/v1/models/{CHAT}", "/v1/models/nothing", "/v1/models/current")
HEADERS = ("authorization", "x_api_key")


def give(gateway: Served, upstream: FakeUpstream, entry: KeyEntry | None) -> Snapshot:
    """A snapshot in which the key of the tests has this entry; without one it is unknown."""
    found = snapshot(upstream.path)
    keys = {digest: one for digest, one in found.keys.items() if digest != hash_api_key(KEY)}
    if entry is not None:
        keys[hash_api_key(KEY)] = entry
    gateway.source.current = dataclasses.replace(found, keys=keys)
    return gateway.source.current


@pytest.fixture
def restored(gateway: Served, upstream: FakeUpstream) -> Iterator[None]:
    yield
    gateway.source.current = snapshot(upstream.path)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("caller", CALLERS)
def test_each_path_by_each_key(
    gateway: Served, upstream: FakeUpstream, restored: None, caller: str, header: str
) -> None:
    entry, refusal = CALLERS[caller]
    give(gateway, upstream, entry)
    sent = {"authorization": ""}
    if caller != "no key":
        sent[header] = f"Bearer {KEY}" if header == "authorization" else KEY
    calls = [("POST", endpoint.path) for endpoint in ENDPOINTS] + [("GET", path) for path in READS]
    for method, path in calls:
        answer = gateway.ask(
            request({"model": "current", "max_tokens": 4} if method == "POST" else b"", path, method=method, **sent),
            method,
        )
        if refusal is None:
            assert answer.status not in (401, 403), (path, answer)
        else:
            assert (answer.status, _code(answer)) == refusal, (path, answer)


def _code(answer: Answer) -> str:
    error = answer.json["error"]
    # Anthropic's shape has no code: the status and the type tell.
    return str(
        error.get("code")
        or {
            ("authentication_error", 401): CODES.get(error["message"][:12], "invalid_api_key"),
            ("permission_error", 403): "address_not_allowed" if "address" in error["message"] else "permission_denied",
        }[error["type"], answer.status]
    )


CODES = {"No API key w": "missing_api_key", "This API key": "expired_api_key"}


BOUND = {
    "route": frozenset({"current"}),
    "model": frozenset({CHAT}),
    "provider": frozenset({"llama.cpp:*"}),
    "elsewhere": frozenset({"openai:*"}),
}
NAMES = ("current", "empty", "cold-route", CHAT, EMBEDDER, COLD, "org/chat-7b.q4", "embedder", "cold")


def _told(answer: Answer, name: str) -> tuple[int, str, list[str]]:
    """What a client can tell: the status, the body without the name, and the names of headers."""
    body = answer.body.decode().replace(name, "NAME")
    ids = {answer.headers.get("x-request-id", "-")}
    for one in ids:
        body = body.replace(one, "ID")
    return answer.status, body, sorted(answer.headers)


@pytest.mark.parametrize("endpoint", [endpoint.path for endpoint in ENDPOINTS])
@pytest.mark.parametrize("bound", BOUND)
def test_a_name_that_is_not_allowed_is_one_that_does_not_exist(
    gateway: Served, upstream: FakeUpstream, restored: None, endpoint: str, bound: str
) -> None:
    """The same answer, and the same search for a newer snapshot: its time would tell otherwise."""
    entry = KeyEntry("k", INFER, None, allowed_models=BOUND[bound])
    listed = give(gateway, upstream, entry)
    nothing = "nothing-of-this-name"

    def ask(name: str) -> tuple[Answer, int]:
        gateway.source.reasons.clear()
        gateway.gateway._relay._context.refresher._next = 0.0
        answer = gateway.post({"model": name, "max_tokens": 4, "input": "x", "prompt": "x"}, endpoint)
        return answer, len(gateway.source.reasons)

    unknown, searched = ask(nothing)
    assert unknown.status == 404
    for name in NAMES:
        resolution = listed.resolve(name)
        assert resolution is not None
        model = resolution.model.key if resolution.model else ""
        names = {resolution.route} if resolution.route else {model, "llama.cpp:*"}
        if names & BOUND[bound]:
            continue
        answer, tried = ask(name)
        assert _told(answer, name) == _told(unknown, nothing), name
        assert tried == searched, name
        data = request(b"", f"/v1/models/{name}", method="GET")
        assert gateway.ask(data, "GET").status == 404, name


def test_the_fallbacks_of_a_route_that_is_not_allowed_are_not_tried(
    gateway: Served, upstream: FakeUpstream, restored: None
) -> None:
    found = give(gateway, upstream, KeyEntry("k", INFER, None, allowed_models=frozenset({"openai:*"})))
    gateway.source.current = dataclasses.replace(found, fallbacks={"current": (CHAT,), "empty": (CHAT,)})
    for route in ("current", "empty"):
        assert gateway.post({"model": route}).status == 404
    assert not upstream.exchanges


ENDINGS: dict[str, KeyEntry | None] = {
    "revoked": None,
    "expired": KeyEntry("key-1", INFER, _EXPIRED),
    "without its scope": KeyEntry("key-1", frozenset({"read"}), None),
    "bound to other addresses": KeyEntry("key-1", INFER, None, limits=ELSEWHERE),
}
_MESSAGES = {"messages": [{"role": "user", "content": "x"}]}
STREAMED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _MESSAGES,
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {**_MESSAGES, "max_tokens": 9},
}
# Documented: a stream ends within 5 seconds after its key.
_SOON = 5.0


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_ends_with_its_key(
    gateway: Served, upstream: FakeUpstream, restored: None, path: str, how: str
) -> None:
    upstream.script("hang_in_stream")
    body = {"model": "current", "stream": True, **STREAMED[path]}
    with gateway.wire() as wire:
        wire.send(request(body, path))
        exchange = upstream.wait_for_exchange()
        head = wire.until(b"data: ")
        give(gateway, upstream, ENDINGS[how])
        began = time.monotonic()
        rest = head + wire.until(b"0\r\n\r\n")
        assert time.monotonic() - began < _SOON
    assert b"200 OK" in rest
    assert b'"error"' in rest
    assert b"API key" in rest
    assert b"[DONE]" not in rest
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_waits_ends_with_its_key(
    gateway: Served, upstream: FakeUpstream, restored: None, stream: bool
) -> None:
    upstream.script("hang")
    with gateway.wire() as wire:
        wire.send(request({"model": "current", "stream": stream}))
        exchange = upstream.wait_for_exchange()
        give(gateway, upstream, None)
        answer = wire.answer()
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"


def test_a_stream_outlives_a_renewed_key_and_changes_of_others(
    gateway: Served, upstream: FakeUpstream, restored: None
) -> None:
    """The playground's key has another text after its renewal, and the same id."""
    upstream.script("paced")
    with gateway.wire() as wire:
        wire.send(request({"model": "current", "stream": True}))
        wire.until(b"data: ")
        found = snapshot(upstream.path)
        renewed = {hash_api_key("noa_renewed"): found.keys[hash_api_key(KEY)]}
        gateway.source.current = dataclasses.replace(found, keys=renewed)
        checked_at = gateway.gateway._watches._keys_at
        deadline = time.monotonic() + DEADLINE
        while gateway.gateway._watches._keys_at == checked_at:
            assert time.monotonic() < deadline, "the keys were not checked"
        upstream.go.set()
        assert b"[DONE]" in wire.until(b"0\r\n\r\n")


def test_every_scope_is_in_the_matrix() -> None:
    scopes: set[Any] = {scope for entry, _ in CALLERS.values() if entry for scope in entry.scopes}
    assert scopes == {scope.value for scope in Scope}

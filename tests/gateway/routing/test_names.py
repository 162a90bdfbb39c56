"""Names: the list of models, unknown names, models that are not loaded or lack the capability."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anthropic.types import ModelInfo as AnthropicModel
from pydantic import TypeAdapter

from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import CHAT, COLD, EMBEDDER, Served, request, snapshot

UNKNOWN_NAMES = {
    "unknown": "gpt-17",
    "traversal": "../../etc/passwd",
    "crlf": "a\r\nX-Evil: 1",
    "nul": "cur\x00rent",
    "other_case": "CURRENT",
    "right_to_left": "\u202ecurrent",
    "homoglyph": "\u0441urrent",
    "space": " current",
    "ten_kib": "m" * 10_240,
    "template": "{{ 7*7 }}",
}


def test_it_lists_routes_and_models_in_the_shape_of_openai(gateway: Served) -> None:
    answer = gateway.get("/v1/models")
    assert answer.json["object"] == "list"
    ids = [entry["id"] for entry in answer.json["data"]]
    assert ids == ["cold-route", "current", "empty", CHAT, COLD, EMBEDDER][:3] + sorted([CHAT, COLD, EMBEDDER])
    current = answer.json["data"][1]
    assert current["noa"] == {"kind": "route", "target": CHAT, "loaded": True}
    assert (current["object"], current["owned_by"]) == ("model", "noa")


def test_it_lists_them_in_the_shape_of_anthropic_for_its_clients(gateway: Served) -> None:
    plain = gateway.get("/v1/models").json["data"]
    answer = gateway.ask(request(b"", "/v1/models", method="GET", anthropic_version="2023-06-01"), "GET")
    listed = answer.json
    assert [entry["id"] for entry in listed["data"]] == [entry["id"] for entry in plain]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, plain[0]["id"], plain[-1]["id"])
    page = TypeAdapter(AnthropicModel)
    for entry in listed["data"]:
        assert page.validate_python(entry).type == "model"
        assert entry["display_name"] == entry["id"]
    one = gateway.ask(request(b"", f"/v1/models/{CHAT}", method="GET", anthropic_version="2023-06-01"), "GET")
    assert one.json in listed["data"]


def test_the_short_names_that_work_are_listed(gateway: Served) -> None:
    """A second provider with the same model takes the name of the first one from no client."""
    found = gateway.source.current
    twin = replace(found.models[CHAT], key="openai:org/chat-7b.q4", provider="openai")
    shadowed = replace(found.models[EMBEDDER], key="openai:current", model_id="current")
    models = {**found.models, twin.key: twin, shadowed.key: shadowed}
    names = {**found.short_names, "current": shadowed.key}
    gateway.source.current = replace(found, models=models, short_names=names)
    listed = {entry["id"]: entry["noa"] for entry in gateway.get("/v1/models").json["data"]}
    assert listed[CHAT]["short_name"] == "org/chat-7b.q4"
    assert listed[twin.key]["short_name"] is None
    # The route has this name.
    assert listed[shadowed.key]["short_name"] is None
    for entry in listed.values():
        if entry["kind"] == "model" and entry["short_name"]:
            assert gateway.post({"model": entry["short_name"]}).status in (200, 400, 503)


def test_the_list_follows_the_snapshot(gateway: Served, upstream: FakeUpstream) -> None:
    gateway.get("/v1/models")
    gateway.source.current = snapshot(upstream.path, 2, fresh=CHAT)
    assert "fresh" in [entry["id"] for entry in gateway.get("/v1/models").json["data"]]


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        CHAT.replace("/", "%2F"),
        CHAT.replace("/", "%2f").replace(":", "%3A"),
        "org/chat-7b.q4",
        "current",
    ],
)
def test_one_model_is_found_by_every_spelling_of_its_name(gateway: Served, path: str) -> None:
    answer = gateway.get(f"/v1/models/{path}")
    assert (answer.status, answer.json["id"]) == (200, "current" if path == "current" else CHAT)


@pytest.mark.parametrize("path", ["nothing", "", "%252f", "..%2f", "org%252Fchat-7b.q4", "%00", "%ff%fe", "a?b=c"])
def test_an_unknown_model_is_not_found(gateway: Served, path: str) -> None:
    answer = gateway.get(f"/v1/models/{path}")
    assert (answer.status, answer.code) == (404, "model_not_found")


@pytest.mark.parametrize("name", UNKNOWN_NAMES.values(), ids=UNKNOWN_NAMES.keys())
def test_an_unknown_name_is_answered_with_what_to_do(gateway: Served, upstream: FakeUpstream, name: str) -> None:
    answer = gateway.post({"model": name}, x_request_id="unknown-name")
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert "/v1/models" in answer.json["error"]["message"]
    assert len(answer.body) < 1000
    assert not upstream.exchanges
    record = next(record for record in reversed(gateway.records()) if record.client_request_id == "unknown-name")
    assert record.requested_model.isprintable() or "\ufffd" in record.requested_model
    assert "\x00" not in record.requested_model
    assert len(record.requested_model) <= 200


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (COLD, "model_not_loaded"),
        ("cold-route", "model_not_loaded"),
        ("empty", "route_without_model"),
    ],
)
def test_a_model_that_is_not_loaded_is_unavailable_for_now(gateway: Served, name: str, code: str) -> None:
    answer = gateway.post({"model": name})
    assert (answer.status, answer.code) == (503, code)
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json["error"]["retryable"] is True


def test_a_model_that_was_loaded_a_moment_ago_is_found(gateway: Served, upstream: FakeUpstream) -> None:
    gateway.source.next = snapshot(upstream.path, 2, **{"just-made": CHAT})
    gateway.gateway._relay._context.refresher._next = 0.0
    assert gateway.post({"model": "just-made"}).status == 200
    assert len(gateway.source.reasons) == 1


def test_a_flood_of_unknown_names_does_not_reach_the_database(gateway: Served) -> None:
    with gateway.wire() as wire:
        for _ in range(50):
            assert wire.send(request({"model": "nothing"})).answer().status == 404
    assert len(gateway.source.reasons) <= 5


@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/embeddings", CHAT), ("/v1/chat/completions", EMBEDDER), ("/v1/completions", EMBEDDER)],
)
def test_a_model_is_not_asked_for_what_it_cannot_do(
    gateway: Served, upstream: FakeUpstream, path: str, model: str
) -> None:
    answer = gateway.post({"model": model}, path)
    assert (answer.status, answer.code) == (400, "capability_not_supported")
    assert not upstream.exchanges


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "/v1/modelsx", "/v1/../admin"])
def test_an_unknown_path_is_not_found(gateway: Served, path: str) -> None:
    for method in ("GET", "POST"):
        answer = gateway.ask(request(b"{}", path, method=method), method)
        assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("PUT", "/v1/embeddings", "POST, OPTIONS"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("POST", f"/v1/models/{CHAT}", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/models", "GET, HEAD, OPTIONS"),
        ("TRACE", "/v1/models", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(gateway: Served, method: str, path: str, allow: str) -> None:
    answer = gateway.ask(request(b"{}", path, method=method), method)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_options_tells_methods_and_lets_no_other_site_in(gateway: Served) -> None:
    answer = gateway.ask(request(b"", method="OPTIONS", origin="https://evil.example"), "OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "POST, OPTIONS")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_head_is_get_without_a_body(gateway: Served) -> None:
    with gateway.wire() as wire:
        head = wire.send(request(b"", "/v1/models", method="HEAD")).answer("HEAD")
        get = wire.send(request(b"", "/v1/models", method="GET")).answer("GET")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(get.body)

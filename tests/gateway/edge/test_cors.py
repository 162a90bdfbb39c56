"""Web pages of other origins call the gateway if their origin is allowed, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models_app.gateway.edge.cors import Cors
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import Answer, Served, request, serve

PAGE, OTHER = "https://chat.example.org", "https://evil.example"
CHAT = {"model": "current", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def allowing(upstream: FakeUpstream) -> Iterator[Served]:
    with serve(upstream.path, around=lambda app: Cors(app, [PAGE, "http://localhost:5173/"])) as served:
        yield served


def preflight(served: Served, origin: str, path: str = "/v1/chat/completions") -> Answer:
    raw = request(
        b"",
        path,
        method="OPTIONS",
        authorization="",
        origin=origin,
        access_control_request_method="POST",
        access_control_request_headers="authorization, content-type, x-stainless-os",
    )
    return served.ask(raw, "OPTIONS")


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173"])
def test_a_browser_may_send_what_a_client_library_sends(allowing: Served, origin: str) -> None:
    headers = preflight(allowing, origin).headers
    assert headers["access-control-allow-origin"] == origin
    assert "x-stainless-os" in headers["access-control-allow-headers"]
    assert "POST" in headers["access-control-allow-methods"]
    assert headers["vary"] == "Origin"


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"model": "nothing"}, {"messages": 1}])
@pytest.mark.parametrize("key", ["", "Bearer wrong"])
def test_every_answer_can_be_read_by_the_page(allowing: Served, fields: dict[str, object], key: str) -> None:
    more = {"authorization": key} if key else {}
    answer = allowing.post(CHAT | fields, origin=PAGE, **more)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "x-noa-model" in answer.headers["access-control-expose-headers"]
    assert (answer.status == 401) == bool(key)


@pytest.mark.parametrize("origin", [OTHER, f"{PAGE}.evil.example", "null", f"{PAGE}:8443", PAGE.replace("s:", ":")])
def test_other_origins_get_nothing(allowing: Served, origin: str) -> None:
    for answer in (preflight(allowing, origin), allowing.post(CHAT, origin=origin)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_page_may_call_by_default(gateway: Served) -> None:
    for answer in (preflight(gateway, PAGE), gateway.post(CHAT, origin=PAGE)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_client_that_is_no_page_is_served_as_always(allowing: Served) -> None:
    answer = allowing.post(CHAT)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_all_origins_can_be_allowed(upstream: FakeUpstream) -> None:
    with serve(upstream.path, around=lambda app: Cors(app, ["*"])) as served:
        assert preflight(served, OTHER).headers["access-control-allow-origin"] == OTHER

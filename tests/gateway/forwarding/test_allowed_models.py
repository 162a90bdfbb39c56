"""API keys that allow some models only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.upstream import FakeUpstream
from tests.gateway.remotes import CHAT, GPT, endpoint, entry, serve_remote
from tests.gateway.wire import CHAT as LOCAL
from tests.gateway.wire import EMBEDDER, Answer, Served, request

MINI = "openai:gpt-4o-mini"
KEYS = {
    "route": frozenset({"smart"}),
    "model": frozenset({GPT}),
    "provider": frozenset({"openai:*"}),
    "nothing_here": frozenset({"elsewhere:model"}),
}


@pytest.fixture(scope="module")
def served(shared_upstream: FakeUpstream) -> Iterator[Served]:
    with FakeOpenAI() as fake:
        models = [entry(key, endpoint(fake, ProviderKind.OPENAI, key.partition(":")[2])) for key in (GPT, MINI)]
        with serve_remote(
            *models,
            runner=shared_upstream.path,
            routes={"smart": None, "other": GPT},
            fallbacks={"smart": (GPT,)},
        ) as running:
            keys = {
                hash_api_key(f"noa_{name}"): KeyEntry(name, frozenset({"infer"}), None, allowed)
                for name, allowed in KEYS.items()
            }
            current = running.source.current
            running.source.current = replace(current, keys={**current.keys, **keys})
            yield running


def ask(served: Served, key: str, model: str) -> Answer:
    return served.post({"model": model, **CHAT}, authorization=f"Bearer noa_{key}")


@pytest.mark.parametrize(
    ("key", "model", "allowed"),
    [
        ("route", "smart", True),
        ("route", "other", False),
        ("route", GPT, False),
        ("route", "gpt-4o", False),
        ("route", LOCAL, False),
        ("model", GPT, True),
        ("model", MINI, False),
        ("model", "other", False),
        ("provider", GPT, True),
        ("provider", MINI, True),
        ("provider", LOCAL, False),
        ("provider", "current", False),
        ("nothing_here", GPT, False),
        ("nothing_here", "empty", False),
    ],
)
def test_a_key_asks_for_what_it_is_for(served: Served, key: str, model: str, allowed: bool) -> None:
    answer = ask(served, key, model)
    if allowed:
        assert (answer.status, answer.json["object"]) == (200, "chat.completion")
    else:
        assert (answer.status, answer.code) == (404, "model_not_found")


def test_a_name_that_nobody_has_is_not_found_as_ever(served: Served) -> None:
    assert ask(served, "route", "nothing").code == "model_not_found"


@pytest.mark.parametrize(
    ("key", "listed"),
    [("route", ["smart"]), ("model", [GPT]), ("provider", [GPT, MINI]), ("nothing_here", [])],
)
def test_the_list_holds_what_the_key_may_ask_for(served: Served, key: str, listed: list[str]) -> None:
    data = request(b"", "/v1/models", method="GET", authorization=f"Bearer noa_{key}")
    answer = served.ask(data, "GET")
    assert [one["id"] for one in answer.json["data"]] == listed
    for name in (EMBEDDER, "current"):
        data = request(b"", f"/v1/models/{name}", method="GET", authorization=f"Bearer noa_{key}")
        assert served.ask(data, "GET").status == 404

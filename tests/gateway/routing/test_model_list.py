"""`GET /v1/models` has the facts that clients read, under the names of each server that they know."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.pricing import Price
from models_app.domain.traffic.listed import Facts
from models_app.domain.traffic.routing import KeyEntry, ModelEntry, Snapshot, Target
from models_app.gateway.routing.model_list import anthropic_list, openai_list

KEY = KeyEntry("key-1", frozenset({"infer"}), None)
ABLE = frozenset(
    {"chat_completion", "text_generation", "streaming", "json_mode", "function_calling", "vision", "reasoning"}
)
FACTS = Facts(
    name="The name",
    description="For tests.",
    context=8192,
    trained_context=131_072,
    max_output=4096,
    price=Price(Decimal("0.15"), Decimal(60), cached_input=Decimal("0.075")),
    status="loaded",
)


def target(context: int | None = 2048, able: frozenset[str] = ABLE) -> Target:
    return Target("p:m", "i", "/run/m", able, context_tokens=context)


def model(**changes: Any) -> ModelEntry:
    given: dict[str, Any] = {"target": target(), "capabilities": ABLE, "facts": FACTS}
    return ModelEntry("p:m", "m", "p", 1_700_000_000, **given | changes)


def snapshot(entry: ModelEntry) -> Snapshot:
    return Snapshot(1, routes={"current": "p:m", "empty": None}, models={"p:m": entry}, short_names={"m": "p:m"})


def listed(entry: ModelEntry, name: str = "p:m", key: KeyEntry = KEY) -> Any:
    found = openai_list().entry(snapshot(entry), name, key)
    assert found is not None
    return orjson.loads(found)


@pytest.mark.parametrize("name", ["p:m", "m", "current"])
def test_each_fact_has_the_names_of_every_server(name: str) -> None:
    found = listed(model(), name)
    assert found["id"] == ("current" if name == "current" else "p:m")
    assert found["name"] == ("current" if name == "current" else "The name")
    assert {found[field] for field in ("context_length", "context_window", "max_model_len")} == {2048}
    assert found["meta"] == {"n_ctx": 2048, "n_ctx_train": 131_072}
    assert found["top_provider"] == {"context_length": 2048, "max_completion_tokens": 4096}
    assert found["description"] == "For tests."
    assert found["architecture"] == {
        "modality": "text+image->text",
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
    }
    assert found["capabilities"]["vision"] is found["capabilities"]["function_calling"] is True
    assert {"tools", "tool_choice", "response_format", "temperature"} <= set(found["supported_parameters"])
    assert found["pricing"] == {
        "prompt": "0.00000015",
        "completion": "0.00006",
        "input_cache_read": "0.000000075",
    }
    assert found["status"] == {"value": "loaded"}


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({}, 2048),
        # A request can reach each copy.
        ({"others": (target(1024), target(4096))}, 1024),
        ({"others": (target(None),)}, 2048),
        ({"target": target(None)}, 8192),
        ({"target": None}, 8192),
    ],
)
def test_the_context_is_that_of_the_running_model(changes: dict[str, Any], context: int) -> None:
    assert listed(model(**changes))["context_length"] == context


@pytest.mark.parametrize(
    ("status", "value"),
    [
        ("unloaded", {"value": "unloaded"}),
        ("loading", {"value": "loading"}),
        ("failed", {"value": "unloaded", "failed": True}),
        # Loaded, but its provider is disabled: no request reaches it.
        ("loaded", {"value": "unloaded"}),
    ],
)
def test_a_model_without_a_target_has_its_status(status: str, value: dict[str, Any]) -> None:
    assert listed(model(target=None, facts=replace(FACTS, status=status)))["status"] == value


def test_what_is_unknown_is_left_out() -> None:
    found = listed(ModelEntry("p:m", "m", "p", 1, None))
    assert set(found) == {"id", "object", "created", "owned_by", "name", "status", "noa"}
    assert listed(model(), "empty")["status"] == {"value": "unloaded"}
    assert None not in listed(model(facts=replace(FACTS, price=None, max_output=None))).values()


@pytest.mark.parametrize("word", Capability)
def test_every_capability_has_modalities_and_parameters(word: Capability) -> None:
    able = frozenset({word.value})
    found = listed(model(target=target(able=able)))
    assert found["capabilities"][word.value] is True
    assert found["architecture"]["input_modalities"][0] == "text"
    assert ("reranker" in found["capabilities"]) == (word == Capability.RERANK)
    generates = word in (Capability.CHAT_COMPLETION, Capability.TEXT_GENERATION)
    assert ("temperature" in found.get("supported_parameters", [])) == generates


@pytest.mark.parametrize(
    ("rate", "text"), [("0", "0"), ("1000000", "1"), ("0.0000000001", "0.0000000000000001"), ("30.00", "0.00003")]
)
def test_a_price_is_text_without_an_exponent(rate: str, text: str) -> None:
    price = Price(Decimal(rate), Decimal(rate))
    assert listed(model(facts=replace(FACTS, price=price)))["pricing"] == {"prompt": text, "completion": text}


def test_anthropics_clients_get_the_facts_that_their_form_has() -> None:
    found = orjson.loads(anthropic_list().entry(snapshot(model()), "p:m", KEY) or b"")
    assert (found["max_input_tokens"], found["max_tokens"]) == (2048, 4096)
    assert (found["display_name"], found["lifecycle"]) == ("The name", "active")
    old = model(facts=replace(FACTS, is_deprecated=True))
    assert orjson.loads(anthropic_list().entry(snapshot(old), "current", KEY) or b"")["lifecycle"] == "deprecated"


def test_a_list_of_1000_models_is_made_once_and_fast() -> None:
    entries = {f"p:m{n}": replace(model(), key=f"p:m{n}", model_id=f"m{n}") for n in range(1000)}
    found = Snapshot(1, routes={"current": "p:m1"}, models=entries)
    lists = openai_list()
    started = time.process_time()
    first = lists.listing(found, KEY)
    assert time.process_time() - started < 0.5
    assert lists.listing(found, KEY) is first
    bound = replace(KEY, allowed_models=frozenset({"p:m7"}))
    assert [entry["id"] for entry in orjson.loads(lists.listing(found, bound))["data"]] == ["p:m7"]

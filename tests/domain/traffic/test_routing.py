"""The resolution of a `model` field."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import (
    EMPTY_SNAPSHOT,
    ModelEntry,
    RemoteEndpoint,
    Snapshot,
    Target,
    hash_api_key,
)


def entry(key: str) -> ModelEntry:
    provider, _, model_id = key.partition(":")
    return ModelEntry(key, model_id, provider, 0, None)


SNAPSHOT = Snapshot(
    revision=1,
    routes={"current": "p:a", "empty": None, "p:b": "p:a", "gone": "p:gone"},
    models={key: entry(key) for key in ("p:a", "p:b", "q:b", "q:c")},
    short_names={"a": "p:a", "c": "q:c"},
)


@pytest.mark.parametrize(
    ("name", "route", "key"),
    [
        ("current", "current", "p:a"),
        ("empty", "empty", None),
        ("gone", "gone", None),
        ("p:b", "p:b", "p:a"),  # a route comes before a key
        ("q:b", None, "q:b"),
        ("c", None, "q:c"),
    ],
)
def test_it_resolves(name: str, route: str | None, key: str | None) -> None:
    found = SNAPSHOT.resolve(name)
    assert found is not None
    assert (found.route, found.model.key if found.model else None) == (route, key)


@pytest.mark.parametrize("name", ["b", "nobody", "", "Current"])
def test_it_knows_nothing_of_other_names(name: str) -> None:
    assert SNAPSHOT.resolve(name) is None


def test_any_text_has_a_hash() -> None:
    assert len(hash_api_key("\ud800 \0 ä")) == 64


def test_the_hash_is_the_sha256_of_the_whole_key() -> None:
    assert hash_api_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_api_key("ä") == hashlib.sha256("ä".encode()).hexdigest()
    assert hash_api_key("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()


def test_a_name_without_a_model_is_no_resolution() -> None:
    snapshot = Snapshot(revision=1, models={"p:a": entry("p:a")}, short_names={"b": "p:gone"})
    assert snapshot.resolve("b") is None
    assert EMPTY_SNAPSHOT.resolve("current") is None


def test_the_representation_of_a_snapshot_hides_the_keys_of_providers() -> None:
    remote = RemoteEndpoint("p", ProviderKind.OPENAI, "https://host/v1", "a", api_key="sk-secret")
    target = Target("p:a", "", "", frozenset(), remote=remote)
    assert "sk-secret" not in repr(Snapshot(1, models={"p:a": replace(entry("p:a"), target=target)}))

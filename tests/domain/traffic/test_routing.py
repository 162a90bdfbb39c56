"""The resolution of a `model` field."""

from __future__ import annotations

import pytest

from models_app.domain.traffic.routing import ModelEntry, Snapshot, hash_api_key


def entry(key: str) -> ModelEntry:
    provider, _, model_id = key.partition(":")
    return ModelEntry(key, model_id, provider, 0, None)


SNAPSHOT = Snapshot(
    revision=1,
    routes={"current": "p:a", "empty": None, "p:b": "p:a", "gone": "p:gone"},
    models={key: entry(key) for key in ("p:a", "p:b", "q:b", "q:c")},
    unique_ids={"a": "p:a", "c": "q:c"},
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

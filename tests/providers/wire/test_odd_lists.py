"""Lists of models as servers of all kinds send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.errors import NoaError
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers import dialects
from models_app.providers.wire.offers import Listing
from tests.gateway.raw_provider import RawProvider, answer

NAMES = ["org/model", "model:7b", "a model", "model[beta]", "x" * 180, "модель-模型", "models/gemini-pro", "a?b#c%20d"]
NULLS = dict.fromkeys(
    ("object", "created", "owned_by", "name", "pricing", "architecture", "top_provider", "context_length", "lifecycle")
)


@pytest.fixture(scope="module")
def provider() -> Iterator[RawProvider]:
    fake = RawProvider(lambda number, on_connection: [])
    yield fake
    fake.close()


def listed(provider: RawProvider, value: Any) -> Listing:
    provider.script = lambda number, on_connection: [answer(json.dumps(value).encode())]
    at = RemoteEndpoint("p", ProviderKind.OPENAI, provider.base_url, "m", "sk", allow_private=True)
    return asyncio.run(dialects.list_models(at))


FORMS: dict[str, Any] = {
    "openai": lambda names: {"object": "list", "data": [{"id": name, "object": "model"} for name in names]},
    "bare": lambda names: [{"id": name} for name in names],
    "names only": lambda names: {"data": names},
    "bare names": lambda names: list(names),
    "ollama": lambda names: {"models": [{"name": name, "model": name, "size": 7} for name in names]},
    "both": lambda names: {"models": [{"name": "other"}], "data": [{"id": name} for name in names]},
    "data null, models": lambda names: {"data": None, "models": [{"name": name} for name in names]},
    "nulls everywhere": lambda names: {
        "object": None,
        "has_more": None,
        "last_id": None,
        "data": [{"id": name, **NULLS} for name in names],
    },
    "id null": lambda names: {"data": [{"id": None, "name": name} for name in names]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_with_every_name(provider: RawProvider, form: str) -> None:
    found = listed(provider, FORMS[form](NAMES))
    assert [offer.remote_id for offer in found.offers] == NAMES
    assert not found.refused


@pytest.mark.parametrize("value", [{"data": None}, {"data": []}, {"models": None}, {"data": [], "object": None}, []])
def test_an_empty_list_is_one(provider: RawProvider, value: Any) -> None:
    found = listed(provider, value)
    assert (found.offers, found.refused) == ([], [])


@pytest.mark.parametrize("entry", [{}, {"id": 7}, {"id": None}, {"id": ""}, {"id": ["a"]}, 7, None, [], ""])
def test_an_entry_without_a_name_is_refused_and_the_others_are_read(provider: RawProvider, entry: Any) -> None:
    found = listed(provider, {"data": [{"id": "a"}, entry, {"id": "b"}]})
    assert [offer.remote_id for offer in found.offers] == ["a", "b"]
    assert len(found.refused) == 1


@pytest.mark.parametrize("value", [{}, {"data": {}}, {"data": "a"}, 7, None, "a", {"error": {"message": "No."}}])
def test_what_is_no_list_is_refused(provider: RawProvider, value: Any) -> None:
    with pytest.raises(NoaError) as error:
        listed(provider, value)
    assert error.value.code == "malformed_answer"

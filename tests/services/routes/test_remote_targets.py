"""Remote models in the snapshot that the gateway serves from."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import InstanceState
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.models import Instance, Provider, RegisteredModel, Route
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.coordination import secrets
from models_app.services.routes import routing

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-canary-snapshot-1"


def make_provider(slug: str = "openai", **more: Any) -> Provider:
    return Provider.objects.create(slug=slug, **{"kind": ProviderKind.OPENAI, "secret": secrets.seal(KEY), **more})


def make_ready(provider: Provider, model_id: str = "gpt-4o", **more: Any) -> str:
    model = RegisteredModel.objects.create(
        provider=provider, model_id=model_id, key=f"{provider.slug}:{model_id}", **more
    )
    Instance.objects.create(model=model, node="local", state=InstanceState.READY)
    return model.key


def target_of(key: str) -> Target | None:
    return routing.snapshot().models[key].target


def remote_of(key: str) -> RemoteEndpoint:
    target = target_of(key)
    assert target is not None and target.remote is not None
    return target.remote


def test_a_ready_remote_model_says_where_and_how_it_is_asked() -> None:
    timeouts = {"connect": 1, "first_byte": 2, "idle": 3, "total": 4}
    remote = remote_of(make_ready(make_provider(timeouts=timeouts, allow_private_addresses=True)))
    assert remote == RemoteEndpoint(
        provider="openai",
        kind=ProviderKind.OPENAI,
        base_url="https://api.openai.com/v1",
        model_id="gpt-4o",
        api_key=KEY,
        allow_private=True,
        connect_seconds=1,
        first_byte_seconds=2,
        idle_seconds=3,
        total_seconds=4,
    )


def test_the_key_is_in_no_representation_of_it() -> None:
    make_ready(make_provider())
    assert KEY not in repr(routing.snapshot())


def test_a_llama_server_with_an_address_is_remote() -> None:
    provider = make_provider("box", kind=ProviderKind.LLAMA_CPP, base_url="http://10.0.0.1:8080")
    assert remote_of(make_ready(provider)).base_url == "http://10.0.0.1:8080/v1"


def test_a_local_model_is_not_remote() -> None:
    target = target_of(make_ready(lookup.local_provider(), "a"))
    assert target is not None and target.remote is None


def test_a_disabled_provider_is_not_asked() -> None:
    assert target_of(make_ready(make_provider(enabled=False))) is None


def test_a_secret_that_cannot_be_read_stops_only_its_own_models(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = make_ready(make_provider("broken", secret="not sealed"))
    good = make_ready(make_provider())
    with caplog.at_level(logging.WARNING):
        assert target_of(broken) is None
    assert "'broken' is not usable" in caplog.text
    assert target_of(good) is not None


def test_prices_of_every_kind_of_model_are_there() -> None:
    price = {"input": "2.5", "output": "10", "source": "operator"}
    for key in (
        make_ready(make_provider(), price=price),
        make_ready(lookup.local_provider(), "a", price=price),
    ):
        target = target_of(key)
        assert target is not None and target.price is not None
        assert (target.price.input, target.price.output) == (Decimal("2.5"), Decimal(10))
    unpriced = target_of(make_ready(make_provider("other")))
    assert unpriced is not None and unpriced.price is None


@pytest.mark.parametrize("price", [{"input": "1"}, {"input": "x", "output": "1"}])
def test_a_price_that_is_none_stops_nothing(caplog: pytest.LogCaptureFixture, price: object) -> None:
    with caplog.at_level(logging.WARNING):
        target = target_of(make_ready(make_provider(), price=price))
    assert target is not None and target.price is None
    assert "openai:gpt-4o" in caplog.text


def test_routes_have_their_fallbacks() -> None:
    Route.objects.create(name="smart", fallbacks=["openai:gpt-4o", "llama.cpp:a"])
    Route.objects.create(name="plain")
    assert routing.snapshot().fallbacks == {"smart": ("openai:gpt-4o", "llama.cpp:a")}


def test_keys_have_what_they_are_for() -> None:
    key, _ = keys.create(name="some", scopes=["infer"], actor="t")
    type(key).objects.filter(pk=key.pk).update(allowed_models=["smart"])
    (entry,) = routing.snapshot().keys.values()
    assert entry.allowed_models == {"smart"}

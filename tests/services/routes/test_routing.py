"""The snapshot that the gateway serves from, and how it is refreshed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from models_app.domain.errors import Conflict, NotFound
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import InstanceState
from models_app.domain.traffic.routing import hash_api_key
from models_app.gateway.site.snapshots import LiveSnapshots
from models_app.models import ApiKey, Instance, ModelVersion, Provider, RegisteredModel, RouteChange, RoutingRevision
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.routes import routing
from models_app.services.runners import instances
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def make_model(model_id: str) -> RegisteredModel:
    return RegisteredModel.objects.create(
        provider=lookup.local_provider(), model_id=model_id, key=f"llama.cpp:{model_id}"
    )


def make_ready(model: RegisteredModel) -> Instance:
    instance = Instance.objects.create(
        model=model, node="local", state=InstanceState.STARTING, socket=f"/run/{model.model_id}"
    )
    instances.move(instance=instance, to=InstanceState.READY)
    return instance


def test_a_model_is_there_before_it_is_loaded() -> None:
    make_model("a")
    entry = routing.snapshot().models["llama.cpp:a"]
    assert entry.target is None


def test_a_short_name_stays_with_the_model_that_was_registered_first() -> None:
    first = make_model("twin")
    assert routing.snapshot().short_names == {"twin": first.key}
    other = Provider.objects.create(slug="aaa", kind=ProviderKind.OPENAI, base_url="https://example.org/v1")
    second = RegisteredModel.objects.create(provider=other, model_id="twin", key="aaa:twin")
    assert routing.snapshot().short_names == {"twin": first.key}
    RegisteredModel.objects.filter(pk__in=(first.pk, second.pk)).update(created_at=timezone.now())
    assert routing.snapshot().short_names == {"twin": first.key}
    first.delete()
    assert routing.snapshot().short_names == {"twin": second.key}


def test_a_ready_instance_is_a_target() -> None:
    instance = make_ready(make_model("a"))
    target = routing.snapshot().models["llama.cpp:a"].target
    assert target is not None
    assert (target.instance_id, target.socket) == (str(instance.pk), "/run/a")


def test_a_target_says_what_answers_and_where() -> None:
    model = make_model("a")
    version = ModelVersion.objects.create(
        model=model, sha256="0123456789abcdef" * 4, path="/a", size_bytes=1, file_mtime_ns=1
    )
    Instance.objects.filter(pk=make_ready(model).pk).update(version=version, node="n1")
    target = routing.snapshot().models["llama.cpp:a"].target
    assert target is not None
    assert (target.version, target.node) == ("0123456789ab", "n1")


def test_a_draining_instance_is_none() -> None:
    instance = make_ready(make_model("a"))
    before = routing.revision()
    assert instances.move(instance=instance, to=InstanceState.DRAINING)
    assert routing.snapshot().models["llama.cpp:a"].target is None
    assert routing.revision() > before


def test_a_state_that_was_left_is_not_left_again() -> None:
    instance = make_ready(make_model("a"))
    assert instances.move(instance=instance, to=InstanceState.STOPPED)
    assert not instances.move(instance=instance, to=InstanceState.DRAINING)


def test_it_holds_keys_that_may_be_used() -> None:
    _, good = keys.create(name="good", scopes=["infer"], actor="t")
    revoked, bad = keys.create(name="bad", scopes=["infer"], actor="t")
    keys.revoke(key=revoked)
    expired, old = keys.create(name="old", scopes=["infer"], actor="t")
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert set(routing.snapshot().keys) == {hash_api_key(good)}


def test_a_route_moves_only_to_what_answers() -> None:
    model = make_model("a")
    with pytest.raises(Conflict):
        routing.repoint(route=routing.get(), model=model, actor="t")
    assert routing.get().target is None
    make_ready(model)
    assert routing.repoint(route=routing.get(), model=model, actor="t") == ""
    assert routing.get().target == model
    assert RouteChange.objects.get().key == "llama.cpp:a"


def test_an_unknown_route_is_named() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        routing.get(name="nowhere")


@pytest.fixture
def live() -> Iterator[LiveSnapshots]:
    snapshots = LiveSnapshots()
    snapshots.start()
    yield snapshots
    snapshots.stop()


def test_a_change_in_this_process_is_there_when_it_is_committed(live: LiveSnapshots) -> None:
    make_ready(make_model("a"))
    assert live.current.models["llama.cpp:a"].target is not None


def test_a_change_by_another_process_is_found(live: LiveSnapshots) -> None:
    make_model("a")
    # Another process: the row changes and no signal is sent here.
    RoutingRevision.objects.update_or_create(pk=1, defaults={"revision": 77})
    until(lambda: live.current.revision == 77, "the poll found the new revision", 10)
    assert "llama.cpp:a" in live.current.models


def test_a_refresh_is_newer_than_its_call(live: LiveSnapshots) -> None:
    make_model("a")
    RoutingRevision.objects.update_or_create(pk=1, defaults={"revision": 78})
    snapshot = asyncio.run(live.refresh("test"))
    assert "llama.cpp:a" in snapshot.models


def test_the_snapshot_has_the_facts_of_the_list() -> None:
    model = make_model("facts")
    RegisteredModel.objects.filter(pk=model.pk).update(
        name="Name",
        description="d" * 2000,
        context_window=32_768,
        max_output_tokens=99,
        price={"input": "0.5", "output": "1"},
        deprecated=True,
    )
    facts = routing.snapshot().models[model.key].facts
    assert (facts.name, len(facts.description), facts.max_output, facts.is_deprecated) == ("Name", 500, 99, True)
    assert (facts.context, facts.trained_context, facts.is_local, facts.status) == (8192, 32_768, True, "unloaded")
    assert facts.price is not None
    RegisteredModel.objects.filter(pk=model.pk).update(load_options={"n_ctx": 512}, price={"input": "x"})
    facts = routing.snapshot().models[model.key].facts
    assert (facts.context, facts.price) == (512, None)
    instance = make_ready(model)
    Instance.objects.filter(pk=instance.pk).update(context_tokens=256)
    found = routing.snapshot().models[model.key]
    assert found.target is not None
    assert (found.target.context_tokens, found.facts.status) == (256, "loaded")


def test_a_remote_model_has_its_registered_context() -> None:
    other = Provider.objects.create(slug="aaa", kind=ProviderKind.OPENAI, base_url="https://example.org/v1")
    RegisteredModel.objects.create(provider=other, model_id="x", key="aaa:x", context_window=200_000)
    facts = routing.snapshot().models["aaa:x"].facts
    assert (facts.context, facts.is_local) == (200_000, False)

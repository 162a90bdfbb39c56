"""Requests are checked before they become jobs."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from models_app.domain.states import InstanceState
from models_app.models import AccessLog, Instance, Job, RegisteredModel, Route
from models_app.services.catalog import lookup
from models_app.services.lifecycle import commands

pytestmark = pytest.mark.django_db


def local_model(state: str | None = None) -> RegisteredModel:
    provider = lookup.local_provider()
    model = RegisteredModel.objects.create(provider=provider, model_id="a", key="llama.cpp:a")
    if state:
        Instance.objects.create(model=model, node="local", state=state)
    return model


def test_a_load_keeps_only_the_options_that_were_given() -> None:
    model = local_model()
    job, created = commands.request_load(key=model.key, options=LoadOptions(n_ctx=512, slots=None), actor="test")
    assert created
    assert job.arguments == {"options": {"n_ctx": 512}}


def test_a_load_with_an_unknown_option_makes_no_job() -> None:
    model = local_model()
    with pytest.raises(InvalidRequest, match="'colour' is not a load option"):
        commands.request_load(key=model.key, options=LoadOptions.parse({"colour": 1}), actor="test")
    assert not Job.objects.exists()


def test_an_alias_of_a_provider_means_the_same_model() -> None:
    with pytest.raises(ModelNotFound, match="anthropic:x"):
        commands.request_load(key="claude:x", options=LoadOptions(), actor="test")


@pytest.mark.parametrize("state", [None, InstanceState.DRAINING, InstanceState.STOPPED])
def test_what_is_not_loaded_cannot_be_unloaded(state: str | None) -> None:
    model = local_model(state)
    with pytest.raises(Conflict) as caught:
        commands.request_unload(key=model.key, actor="test")
    assert caught.value.code == "model_not_loaded"


def test_what_is_still_loading_cannot_be_unloaded() -> None:
    model = local_model(InstanceState.STARTING)
    with pytest.raises(Conflict) as caught:
        commands.request_unload(key=model.key, actor="test")
    assert caught.value.code == "model_is_loading"


def test_whoever_asks_again_while_a_model_drains_shares_the_job() -> None:
    model = local_model(InstanceState.READY)
    first, _ = commands.request_unload(key=model.key, actor="test")
    model.instances.update(state=InstanceState.DRAINING)
    second, created = commands.request_unload(key=model.key, actor="other")
    assert (second.pk, created) == (first.pk, False)


def test_a_switch_of_a_route_that_is_not_there_makes_no_job() -> None:
    model = local_model()
    with pytest.raises(NotFound):
        commands.request_switch(key=model.key, route="nowhere", actor="test")
    assert not Job.objects.exists()


def test_a_switch_to_a_model_of_a_disabled_provider_makes_no_job() -> None:
    model = local_model()
    model.provider.kind, model.provider.enabled = "openai", False
    model.provider.save()
    with pytest.raises(Conflict, match="its provider is disabled"):
        commands.request_switch(key=model.key, actor="test")


def test_a_switch_to_where_the_route_leads_makes_no_job_while_it_answers() -> None:
    model = local_model(InstanceState.READY)
    Route.objects.create(name="current", target=model)
    with pytest.raises(Conflict) as caught:
        commands.request_switch(key=model.key, actor="test")
    assert caught.value.code == "already_current"
    model.instances.update(state=InstanceState.FAILED)
    assert commands.request_switch(key=model.key, actor="test")[1]


def asked(route: str, endpoint: str, *, ago: timedelta = timedelta(minutes=5), status: int = 200) -> None:
    AccessLog.objects.create(
        request_id=str(uuid4()),
        started_at=timezone.now() - ago,
        endpoint=endpoint,
        route=route,
        status=status,
        duration_ms=1.0,
    )


@pytest.mark.parametrize(
    ("endpoint", "capabilities", "refused"),
    [
        ("chat/completions", ["embeddings"], True),
        ("messages", ["text_generation"], True),
        ("responses", ["text_generation"], True),
        ("completions", ["embeddings"], True),
        ("embeddings", ["chat_completion"], True),
        ("chat/completions", ["chat_completion"], False),
        ("embeddings", ["embeddings"], False),
        # Nothing is known about it.
        ("chat/completions", [], False),
        ("models", ["embeddings"], False),
    ],
)
def test_a_switch_compares_what_the_route_answered_with_what_the_model_can(
    endpoint: str, capabilities: list[str], refused: bool
) -> None:
    model = local_model()
    model.capabilities = capabilities
    model.save()
    Route.objects.create(name="current")
    asked("current", endpoint)
    asked("current", endpoint)
    if not refused:
        assert commands.request_switch(key=model.key, actor="test")[1]
        return
    with pytest.raises(Conflict) as caught:
        commands.request_switch(key=model.key, actor="test")
    assert (caught.value.code, caught.value.param) == ("model_cannot_answer", "force")
    assert "2 requests" in caught.value.message
    job, created = commands.request_switch(key=model.key, force=True, actor="test")
    assert created and job.arguments["force"]


def test_old_requests_failed_ones_and_those_of_other_routes_do_not_count() -> None:
    model = local_model()
    model.capabilities = ["embeddings"]
    model.save()
    Route.objects.create(name="current")
    asked("current", "chat/completions", ago=timedelta(days=2))
    asked("current", "chat/completions", status=400)
    asked("other", "chat/completions")
    assert commands.request_switch(key=model.key, actor="test")[1]

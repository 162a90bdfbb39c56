"""Loading a model of a remote provider: a real check, with the reason when the key or the model is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from pydantic import SecretStr

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import JobKind, JobState
from models_app.models import Event, Instance, Job, RegisteredModel
from models_app.services.desired_state import state
from models_app.services.jobs import jobs
from models_app.services.lifecycle import commands, loading, unloading
from models_app.services.registry import provider_settings
from models_app.services.routes import routing
from tests.fakes.openai_server import FakeOpenAI
from tests.services.conftest import Work

KEY = "openai:gpt-4o"


@pytest.fixture
def openai(start_node: Callable[[str], None]) -> Iterator[FakeOpenAI]:
    """A provider with one registered model."""
    start_node("good")
    with FakeOpenAI() as fake:
        provider = provider_settings.add(
            slug="openai",
            settings=ProviderSettings(
                kind=ProviderKind.OPENAI,
                base_url=fake.base_url,
                api_key=SecretStr(fake.key),
                allow_private_addresses=True,
            ),
            actor="test",
        )
        RegisteredModel.objects.create(provider=provider, model_id="gpt-4o", key=KEY, context_window=128_000)
        yield fake


def target() -> Any:
    return routing.snapshot().models[KEY].target


def test_a_model_is_ready_when_its_provider_vouches_for_it(openai: FakeOpenAI, do: Work) -> None:
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [request.path for request in openai.requests] == ["/v1/models/gpt-4o"]
    instance = Instance.objects.get()
    assert (instance.state, instance.pid, instance.version, instance.context_tokens) == (
        "ready",
        None,
        None,
        128_000,
    )
    model = RegisteredModel.objects.get()
    assert (model.status, model.wanted) == ("loaded", True)
    assert target().remote.base_url == openai.base_url
    assert target().remote.model_id == "gpt-4o"


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        ("bad_key", "provider_auth_failed", "Incorrect API key"),
        ("rate_limited_retry_after", "provider_rate_limited", "Rate limit reached"),
        ("status_500", "provider_error", "The server had an error"),
    ],
)
def test_a_load_that_fails_has_the_reason_of_the_provider(
    openai: FakeOpenAI, do: Work, behaviour: str, code: str, words: str
) -> None:
    openai.default = behaviour
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    model = RegisteredModel.objects.get()
    assert (model.status, model.failure_stage) == ("failed", "check")
    assert words in model.failure_reason
    assert words in Event.objects.get(name="model-load-failed").data["reason"]
    assert target() is None


def test_a_model_that_the_provider_does_not_have_cannot_be_loaded(openai: FakeOpenAI, do: Work) -> None:
    openai.models = openai.models[1:]
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert (job.state, job.error_code) == (JobState.FAILED, "provider_model_not_found")
    openai.reset()
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED


def test_a_load_that_waits_for_its_provider_can_be_cancelled(openai: FakeOpenAI, do: Work) -> None:
    openai.default = "hang_before_headers"

    def cancel() -> None:
        openai.wait_for_request()
        jobs.cancel(job_id=Job.objects.get().pk, actor="test")
        connection.close()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    job = do(loading.load, key=KEY, options=LoadOptions())
    canceller.join()
    assert job.state == JobState.CANCELLED
    assert RegisteredModel.objects.get().status == "available"
    assert openai.requests[0].left.wait(10), "the provider was not left"


def test_an_unload_ends_the_instance(openai: FakeOpenAI, do: Work) -> None:
    do(loading.load, key=KEY, options=LoadOptions())
    job = do(unloading.unload, kind=JobKind.UNLOAD, key=KEY)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert Instance.objects.get().state == "stopped"
    assert RegisteredModel.objects.get().status == "available"
    assert target() is None


def test_a_restart_loads_it_again(openai: FakeOpenAI, do: Work) -> None:
    do(loading.load, key=KEY, options=LoadOptions())
    state.clean_up()
    assert target() is None
    (job,) = state.wanted_loads()
    assert (job.kind, job.subject) == ("load", KEY)


def test_load_options_are_for_runners(openai: FakeOpenAI) -> None:
    with pytest.raises(InvalidRequest) as caught:
        commands.request_load(key=KEY, options=LoadOptions(n_ctx=512), actor="test")
    assert caught.value.code == "options_not_for_remote"


def test_a_model_of_a_disabled_provider_is_neither_loaded_nor_served(openai: FakeOpenAI, do: Work) -> None:
    do(loading.load, key=KEY, options=LoadOptions())
    provider_settings.change(slug="openai", fields={"enabled": False}, actor="test")
    assert target() is None
    with pytest.raises(Conflict) as caught:
        commands.request_load(key=KEY, options=LoadOptions(), actor="test")
    assert caught.value.code == "provider_disabled"


def test_a_new_key_reaches_the_gateway_without_a_load(openai: FakeOpenAI, do: Work) -> None:
    do(loading.load, key=KEY, options=LoadOptions())
    new = SecretStr("sk-the-next-key-123")
    provider_settings.change(slug="openai", fields={"api_key": new}, actor="test")
    assert target().remote.api_key == new.get_secret_value()

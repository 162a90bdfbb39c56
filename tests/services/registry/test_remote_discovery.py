"""Discovery at remote providers: registration and reports; one provider never stops another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import JobKind, JobState
from models_app.models import CapabilityEvidence, Event, Job, Provider, RegisteredModel
from models_app.services.providers import providers
from models_app.services.registry import discovery, provider_settings
from tests.fakes import anthropic_server, openai_server
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_server import FakeProvider
from tests.services.conftest import Work
from tests.services.results import result_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def openai(fake_openai: FakeOpenAI) -> FakeOpenAI:
    return fake_openai


@pytest.fixture
def anthropic(fake_anthropic: FakeAnthropic) -> FakeAnthropic:
    return fake_anthropic


def add(slug: str, fake: FakeProvider, **more: Any) -> Provider:
    kind = ProviderKind.ANTHROPIC if isinstance(fake, FakeAnthropic) else ProviderKind.OPENAI
    fields: dict[str, Any] = {
        "kind": kind,
        "base_url": fake.base_url,
        "api_key": SecretStr(fake.key),
        "allow_private_addresses": True,
    }
    return provider_settings.add(slug=slug, settings=ProviderSettings(**fields | more), actor="test")


def discover(do: Work, slug: str | None = None, state: str = JobState.SUCCEEDED) -> Any:
    job: Job = do(discovery.discover, kind=JobKind.DISCOVER, provider=slug)
    assert job.state == state, job.error_message
    found = result_of(job)["providers"]
    return found[slug] if slug else found


def test_models_are_registered_with_what_is_known_of_them(openai: FakeOpenAI, do: Work) -> None:
    add("openai", openai)
    found = discover(do, "openai")
    assert (found["found"], found["failed"]) == (5, None)
    assert "openai:gpt-4o" in found["new"]
    model = RegisteredModel.objects.get(key="openai:gpt-4o")
    assert (model.context_window, model.price, model.capabilities) == (None, None, [])
    assert model.status == "available"
    assert Event.objects.filter(name="model-registered").count() == 5
    assert Event.objects.get(name="provider-discovered").data["new"] == 5


def test_a_second_look_changes_nothing(openai: FakeOpenAI, do: Work) -> None:
    add("openai", openai)
    discover(do, "openai")
    count = Event.objects.filter(name__startswith="model-").count()
    found = discover(do, "openai")
    assert (found["found"], found["unchanged"], found["new"], found["changed"]) == (5, 5, [], [])
    assert Event.objects.filter(name__startswith="model-").count() == count


def test_a_model_that_is_not_named_any_more_is_marked_and_kept(openai: FakeOpenAI, do: Work) -> None:
    add("openai", openai)
    discover(do, "openai")
    listed, openai.models = openai.models, openai.models[1:]
    assert discover(do, "openai")["gone"] == ["openai:gpt-4o"]
    assert RegisteredModel.objects.get(key="openai:gpt-4o").gone_at is not None
    assert discover(do, "openai")["gone"] == []
    openai.models = listed
    assert discover(do, "openai")["changed"] == ["openai:gpt-4o"]
    assert RegisteredModel.objects.get(key="openai:gpt-4o").gone_at is None


def test_a_model_that_was_registered_by_hand_is_not_gone(openai: FakeOpenAI, do: Work) -> None:
    provider = add("openai", openai)
    RegisteredModel.objects.create(provider=provider, model_id="ft:mine", key="openai:ft:mine")
    assert discover(do, "openai")["gone"] == []


def test_what_the_provider_says_is_kept_with_its_evidence(anthropic: FakeAnthropic, do: Work) -> None:
    add("anthropic", anthropic)
    discover(do, "anthropic")
    model = RegisteredModel.objects.get(key="anthropic:claude-haiku-4-5-20251001")
    assert (model.context_window, model.max_output_tokens) == (200_000, 64_000)
    assert "vision" in model.capabilities
    evidence = CapabilityEvidence.objects.get(model=model, capability="vision")
    assert (evidence.source, evidence.verdict) == ("declared", "supported")
    anthropic.models = [anthropic_server.model("claude-haiku-4-5-20251001", max_input_tokens=1_000_000)]
    assert discover(do, "anthropic")["changed"] == [model.key]
    event = Event.objects.get(name="model-updated", subject=model.key)
    assert (event.before, event.after) == (
        {"context_window": 200_000},
        {"context_window": 1_000_000},
    )


def test_the_price_of_the_operator_stays(openai: FakeOpenAI, do: Work) -> None:
    openai.models = [
        openai_server.model(name, pricing={"prompt": "0.000001", "completion": "0.000002"}) for name in ("a", "b")
    ]
    provider = add("router", openai)
    own = {"input": "7", "output": "7", "source": "operator"}
    RegisteredModel.objects.create(provider=provider, model_id="a", key="router:a", price=own)
    discover(do, "router")
    assert RegisteredModel.objects.get(key="router:a").price == own
    assert RegisteredModel.objects.get(key="router:b").price == {
        "input": "1",
        "output": "2",
        "source": "provider",
    }


def test_a_name_that_is_no_model_id_is_cleaned_and_the_provider_is_asked_by_its_own(
    openai: FakeOpenAI, do: Work
) -> None:
    openai.models = [openai_server.model(name) for name in ("../models/tiny (v2).gguf", "a/../b", "a//b")]
    provider = add("server", openai)
    found = discover(do, "server")
    assert found["new"] == ["server:models/tiny-v2-.gguf"]
    assert {one["name"] for one in found["refused"]} == {"a/../b", "a//b"}
    model = RegisteredModel.objects.get()
    assert providers.endpoint(provider, model).model_id == "../models/tiny (v2).gguf"


def test_one_dead_provider_does_not_stop_the_others(
    openai: FakeOpenAI, anthropic: FakeAnthropic, models_dir: Path, do: Work
) -> None:
    openai.default = "status_500"
    add("openai", openai)
    add("anthropic", anthropic)
    add("keyless", anthropic, api_key=None, secret_env="NOT_SET_ANYWHERE")
    found = discover(do)
    assert set(found) == {"llama.cpp", "openai", "anthropic", "keyless"}
    assert found["openai"]["failed"]["code"] == "provider_error"
    assert found["keyless"]["failed"]["code"] == "provider_auth_failed"
    assert found["anthropic"]["found"] == 3
    row = Provider.objects.get(slug="openai")
    assert "The server had an error" in row.discovery_error
    assert row.discovered_at is None
    assert Provider.objects.get(slug="anthropic").discovered_at is not None


def test_a_failure_is_forgotten_when_the_provider_answers_again(openai: FakeOpenAI, do: Work) -> None:
    add("openai", openai)
    openai.script("bad_key")
    discover(do, "openai", JobState.FAILED)
    discover(do, "openai")
    assert Provider.objects.get(slug="openai").discovery_error == ""


def test_the_job_fails_when_all_failed_and_says_why(openai: FakeOpenAI, do: Work) -> None:
    openai.default = "bad_key"
    add("openai", openai)
    job = do(discovery.discover, kind=JobKind.DISCOVER, provider="openai")
    assert (job.state, job.error_code) == (JobState.FAILED, "provider_auth_failed")
    assert "Incorrect API key" in job.error_message
    assert result_of(job)["providers"]["openai"]["failed"]["code"] == "provider_auth_failed"


def test_a_disabled_provider_is_left_alone(openai: FakeOpenAI, models_dir: Path, do: Work) -> None:
    add("openai", openai, enabled=False)
    assert set(discover(do)) == {"llama.cpp"}
    assert openai.requests == []


def test_a_long_list_takes_few_statements(openai: FakeOpenAI, do: Work, django_assert_max_num_queries: Any) -> None:
    openai.models = [openai_server.model(f"m-{number}") for number in range(450)]
    add("router", openai)
    with django_assert_max_num_queries(60):
        discover(do, "router")
    with django_assert_max_num_queries(40):
        discover(do, "router")


def test_what_its_provider_will_end_is_deprecated_once(anthropic: FakeAnthropic, do: Work) -> None:
    anthropic.models = [anthropic_server.model("claude-1", lifecycle="deprecated")]
    add("anthropic", anthropic)
    discover(do, "anthropic")
    model = RegisteredModel.objects.get()
    assert (model.deprecated, model.deprecation_note) == (True, "Its provider will retire it.")
    RegisteredModel.objects.update(deprecated=False)
    discover(do, "anthropic")
    assert RegisteredModel.objects.get().deprecated is False

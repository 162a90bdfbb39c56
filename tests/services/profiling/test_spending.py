"""Probes and profiles of a provider's model cost what their requests cost, and the key that started them pays."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.errors import BudgetExceeded
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.records.access import AccessRecord
from models_app.domain.states import InstanceState, JobState, ModelStatus
from models_app.models import AccessLog, Activity, Instance, Job, Provider, RegisteredModel
from models_app.services.access_log import store
from models_app.services.api_keys import budgets, keys
from models_app.services.coordination import secrets
from models_app.services.jobs import jobs
from models_app.services.profiling import probing, profiling
from models_app.services.profiling.profiling import ProfileSettings
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.upstream import FakeUpstream
from tests.services.served import KEY as LOCAL
from tests.services.served import loaded_model

pytestmark = pytest.mark.django_db

KEY = "openai:gpt-4o"
PRICE = {"input": "10", "output": "20"}


@pytest.fixture
def model(fake_openai: FakeOpenAI) -> RegisteredModel:
    """A loaded model of a provider, with a price."""
    provider = Provider.objects.create(
        slug="openai",
        kind=ProviderKind.OPENAI,
        base_url=fake_openai.base_url,
        secret=secrets.seal(fake_openai.key),
        allow_private_addresses=True,
    )
    model = RegisteredModel(provider=provider, model_id="gpt-4o", key=KEY, price=PRICE, status=ModelStatus.LOADED)
    model.capabilities = ["text_generation", "chat_completion", "streaming"]
    model.save()
    Instance.objects.create(model=model, node="local", state=InstanceState.READY)
    return model


@pytest.fixture
def key_id(db: None) -> str:
    key, _ = keys.create(name="shop", scopes=["operate"], limits={"monthly_budget_usd": 1}, actor="test")
    return key.key_id


def done(job: Job, work: Any, **arguments: Any) -> Job:
    with jobs.run(job_id=str(job.pk), node="local") as run:
        assert run is not None
        work(run=run, key=job.subject, **arguments)
    job.refresh_from_db()
    return job


def test_each_request_of_a_profile_has_a_row(model: RegisteredModel, key_id: str, fake_openai: FakeOpenAI) -> None:
    wanted = ProfileSettings(requests=3, concurrency=[1, 2], warmup=2, max_tokens=16)
    job, _ = profiling.request(key=KEY, wanted=wanted, actor="key:shop", key_id=key_id)
    done(job, profiling.profile, wanted=wanted)
    assert job.state == JobState.SUCCEEDED, job.error_message
    rows = AccessLog.objects.all()
    assert len(rows) == 8 == len(fake_openai.requests)
    assert {(row.endpoint, row.key_id, row.model_key, row.provider, row.status) for row in rows} == {
        ("profile", key_id, KEY, "openai", 200)
    }
    assert all(row.prompt_tokens and row.completion_tokens and not row.estimated for row in rows)
    for row in rows:
        tokens = 10 * (row.prompt_tokens or 0) + 20 * (row.completion_tokens or 0)
        assert row.cost_usd is not None and row.cost_usd <= Decimal(tokens) / 1_000_000
    (spent,) = budgets.spent(key_ids={key_id}, now=timezone.now())
    assert spent.tokens == sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in rows) > 0
    assert spent.micro_usd > 0


def test_each_request_of_a_probe_has_a_row(model: RegisteredModel, key_id: str, fake_openai: FakeOpenAI) -> None:
    job, _ = probing.request(key=KEY, wanted=(), effective_context=None, actor="key:shop", key_id=key_id)
    done(job, probing.probe, wanted=(), effective_context=None)
    rows = AccessLog.objects.all()
    assert len(rows) == len(fake_openai.requests) > 0
    assert {(row.endpoint, row.key_id) for row in rows} == {("probe", key_id)}
    assert Activity.objects.filter(key_id=key_id, cost_usd__gt=0).exists()


@pytest.mark.parametrize("word", ["no_usage", "cut_mid_stream"])
def test_a_request_without_usage_is_estimated(
    model: RegisteredModel, key_id: str, fake_openai: FakeOpenAI, word: str
) -> None:
    fake_openai.default = word
    wanted = ProfileSettings(requests=2, warmup=0, max_tokens=16)
    job, _ = profiling.request(key=KEY, wanted=wanted, actor="key:shop", key_id=key_id)
    done(job, profiling.profile, wanted=wanted)
    rows = AccessLog.objects.all()
    assert len(rows) == 2
    for row in rows:
        assert row.estimated
        assert (row.prompt_tokens or 0) > 0 and row.completion_tokens == 16
        assert (row.cost_usd or 0) > 0


def test_a_key_without_a_rest_of_its_month_starts_none(model: RegisteredModel, key_id: str) -> None:
    spent = AccessRecord("r-1", time.time(), "chat/completions", key_id, model_key=KEY, prompt_tokens=1, cost_usd=1.0)
    store.store([spent])
    with pytest.raises(BudgetExceeded):
        profiling.request(key=KEY, wanted=ProfileSettings(), actor="key:shop", key_id=key_id)
    with pytest.raises(BudgetExceeded):
        probing.request(key=KEY, wanted=(), effective_context=None, actor="key:shop", key_id=key_id)
    # A user of the console has no budget.
    assert profiling.request(key=KEY, wanted=ProfileSettings(), actor="user:ada")[1]


def test_a_local_model_costs_nothing(runner: FakeUpstream, key_id: str) -> None:
    loaded_model(runner.path)
    wanted = ProfileSettings(requests=2, warmup=1)
    job, _ = profiling.request(key=LOCAL, wanted=wanted, actor="key:shop", key_id=key_id)
    done(job, profiling.profile, wanted=wanted)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert not AccessLog.objects.exists()

"""The overview."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.domain.records.access import AccessRecord
from models_app.domain.residency.ledger import LedgerCause, LedgerKind, LedgerOutcome, LifecycleFact, Origin
from models_app.models import Activity, Event, Job, Provider, RegisteredModel, Route
from models_app.services.access_log import store
from models_app.services.catalog import ledger
from tests.admin.conftest import make_job


def index(client: Client) -> str:
    return client.get(reverse("admin:index")).content.decode().replace("&#x27;", "'")


def test_an_empty_server_says_what_to_do_next(console: Client) -> None:
    page = index(console)
    assert "Welcome to NOA" in page
    assert str(settings.NOA_MODELS_DIR) in page
    assert reverse("admin:models_app_registeredmodel_changelist") in page
    assert reverse("admin:models_app_provider_add") in page
    for heading in ("Running jobs", "Recent events", "<h2>Memory"):
        assert heading not in page


def test_models_without_a_current_one_say_so(console: Client, make_model: Any) -> None:
    make_model()
    assert "It has no target yet" in index(console)


def test_a_current_model_that_is_not_loaded_is_an_alarm(console: Client, make_model: Any) -> None:
    Route.objects.create(name="current", target=make_model(on_demand=False))
    page = index(console)
    assert "It is not loaded: requests are refused until it is." in page
    assert "noa-edge-bad" in page


def test_a_runner_that_does_not_answer_is_an_alarm(console: Client, furnished: RegisteredModel, tmp_path: Path) -> None:
    socket = tmp_path / "noa.sock"
    socket.touch()
    furnished.instances.update(socket=str(socket))
    page = index(console)
    assert "its runner does not answer" in page
    assert "5.0\xa0GiB" in page


def test_a_current_model_that_answers_is_green(console: Client, furnished: RegisteredModel, monkeypatch: Any) -> None:
    furnished.instances.update(socket="/run/noa/socket")
    health = {"in_flight": 3, "memory": {"rss_bytes": 2**30}}
    monkeypatch.setattr("models_app.engines.control.health", lambda path, **_: health)
    page = index(console)
    assert "It answers." in page
    assert "noa-edge-good" in page
    assert "1.0\xa0GiB" in page


def test_running_jobs_are_there_and_ended_ones_are_not(console: Client, make_model: Any) -> None:
    make_model()
    steps = [{"name": "warm_up", "state": "running", "seconds": None, "detail": ""}]
    job = make_job(state="running", progress=0.5, steps=steps)
    page = index(console)
    assert "Load llama.cpp:tiny" in page
    assert "warm up" in page
    assert 'value="50"' in page
    Job.objects.filter(pk=job.pk).update(state="succeeded")
    assert "Load llama.cpp:tiny" not in index(console)


def test_what_happened_is_told_in_sentences(console: Client, furnished: RegisteredModel) -> None:
    page = index(console)
    assert "It was loaded." in page
    assert "just now" in page
    Event.objects.update(created_at=timezone.now() - timedelta(hours=2, minutes=5))
    assert "2\xa0hours ago" in index(console)


def test_what_somebody_should_look_at_is_said_first(console: Client, make_model: Any) -> None:
    make_model("broken", status="failed", failure_reason="No memory was left.\nlog line")
    make_model("crowded")
    origin = Origin(LedgerCause.POLICY)
    for _ in range(3):
        ledger.record(LifecycleFact(LedgerKind.EVICTION, "llama.cpp:crowded", LedgerOutcome.DONE, origin))
    Provider.objects.create(slug="away", kind="openai", breaker="open", breaker_reason="It is gone.")
    page = index(console)
    assert "llama.cpp:broken failed: No memory was left." in page
    assert "log line" not in page
    assert "llama.cpp:crowded was evicted 3 times in the last hour" in page
    assert "The provider away gets no requests for now. It is gone." in page


def test_the_figures_are_those_of_today_with_yesterday_beside_them(console: Client, furnished: RegisteredModel) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    times = {"durations": {"80": 1}, "ttfts": {}, "last_at": hour, "model_key": "*"}
    Activity.objects.create(hour=hour, requests=1200, errors=12, cost_usd="1.5", **times)
    Activity.objects.create(hour=hour - timedelta(days=1), requests=600, errors=60, **times)
    store.store([AccessRecord("r1", timezone.now().timestamp(), "chat/completions", status=200, duration_ms=9.0)])
    page = index(console)
    for text in ("1,201 today", "$1.50", "First token p95"):
        assert text in page

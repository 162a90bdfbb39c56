"""The first page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.models import Event, Job, RegisteredModel, Route
from tests.admin.conftest import make_job


def index(client: Client) -> str:
    return client.get(reverse("admin:index")).content.decode().replace("&#x27;", "'")


def test_an_empty_server_says_what_to_do_next(console: Client) -> None:
    page = index(console)
    assert "Welcome to NOA" in page
    assert str(settings.NOA_MODELS_DIR) in page
    assert reverse("admin:models_app_registeredmodel_changelist") in page
    assert "Running jobs" not in page


def test_models_without_a_current_one_say_so(console: Client, make_model: Any) -> None:
    make_model()
    assert "'current' leads to nothing yet" in index(console)


def test_a_current_model_that_is_not_loaded_is_an_alarm(console: Client, make_model: Any) -> None:
    Route.objects.create(name="current", target=make_model())
    page = index(console)
    assert "It is not loaded: requests are refused until it is." in page
    assert "noa-edge-bad" in page


def test_a_runner_that_does_not_answer_is_an_alarm(
    console: Client, furnished: RegisteredModel
) -> None:
    page = index(console)
    assert "its runner does not answer this server" in page
    assert "5.0\xa0GiB" in page


def test_a_current_model_that_answers_is_green(
    console: Client, furnished: RegisteredModel, monkeypatch: Any
) -> None:
    furnished.instances.update(socket="/run/noa/socket")
    health = {"in_flight": 3, "memory": {"rss_bytes": 2**30}}
    monkeypatch.setattr("models_app.engines.control.health", lambda path, **_: health)
    page = index(console)
    assert "It answers." in page
    assert "noa-edge-good" in page
    assert "1.0\xa0GiB" in page


def test_running_jobs_are_followed_and_ended_ones_are_not(console: Client) -> None:
    job = make_job(state="running", progress=0.5)
    page = index(console)
    assert "Load llama.cpp:tiny" in page
    assert 'hx-trigger="every 2s"' in page
    Job.objects.filter(pk=job.pk).update(state="succeeded")
    assert "hx-trigger" not in index(console).partition('id="noa-overview"')[2].partition(">")[0]


def test_what_happened_is_told_in_sentences(console: Client, furnished: RegisteredModel) -> None:
    page = index(console)
    assert "It was loaded." in page
    assert "just now" in page
    Event.objects.update(created_at=timezone.now() - timedelta(hours=2, minutes=5))
    assert "2\xa0hours ago" in index(console)

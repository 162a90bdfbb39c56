"""A confirmed dialog creates a job, or shows the reason of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from models_app.models import Job, RegisteredModel, Route

CONFIRMED = {"_form_submitted": "True"}


def confirm(client: Client, action: str, *args: Any, **fields: Any) -> Any:
    address = reverse(f"admin:models_app_{action}", args=args)
    return client.post(address, CONFIRMED | fields)


def message_of(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def page_of(job: Job) -> str:
    return reverse("admin:models_app_job_change", args=[job.pk])


def test_load_becomes_a_job_with_the_options_that_were_filled_in(
    console: Client, make_model: Any, queued: list[Job]
) -> None:
    model = make_model()
    answer = confirm(console, "registeredmodel_load_model", model.pk, n_ctx="4096", slots="", n_gpu_layers="")
    job = Job.objects.get()
    assert (job.kind, job.subject, job.state) == ("load", model.key, "queued")
    assert job.arguments == {"options": {"n_ctx": 4096}}
    assert job.actor == "user:root"
    assert queued == [job]
    assert (answer.status_code, answer["Location"]) == (302, page_of(job))


def test_a_dialog_sends_the_whole_page_on_not_only_itself(console: Client, make_model: Any) -> None:
    address = reverse("admin:models_app_registeredmodel_load_model", args=[make_model().pk])
    answer = console.post(address, CONFIRMED, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == page_of(Job.objects.get())


@pytest.mark.parametrize(("field", "value"), [("n_ctx", "5"), ("slots", "0"), ("n_ctx", "many")])
def test_a_wrong_option_is_said_beside_its_field(
    console: Client, make_model: Any, queued: list[Job], field: str, value: str
) -> None:
    answer = confirm(console, "registeredmodel_load_model", make_model().pk, **{field: value})
    assert answer.status_code == 200
    assert "whole number" in answer.content.decode()
    assert not Job.objects.exists()
    assert queued == []


def test_the_same_load_twice_leads_to_one_job(console: Client, make_model: Any, queued: list[Job]) -> None:
    model = make_model()
    confirm(console, "registeredmodel_load_model", model.pk)
    answer = confirm(console, "registeredmodel_load_model", model.pk)
    assert answer["Location"] == page_of(Job.objects.get())
    assert "in progress already" in message_of(answer)
    assert len(queued) == 1


def test_unload_of_a_loaded_model_becomes_a_job(console: Client, furnished: RegisteredModel) -> None:
    confirm(console, "registeredmodel_unload_model", furnished.pk)
    job = Job.objects.get(kind="unload")
    assert (job.subject, job.arguments) == (furnished.key, {})


def test_unload_of_a_model_that_is_not_loaded_is_refused_with_a_sentence(
    console: Client, make_model: Any, queued: list[Job]
) -> None:
    model = make_model()
    answer = confirm(console, "registeredmodel_unload_model", model.pk)
    assert answer["Location"].endswith(f"/registeredmodel/{model.pk}/change/")
    assert message_of(answer) == f"'{model.key}' is not loaded, so there is nothing to unload."
    assert queued == []


def test_make_current_becomes_a_switch_of_the_current_route(console: Client, make_model: Any) -> None:
    model = make_model()
    confirm(console, "registeredmodel_make_current", model.pk, keep_previous="on")
    job = Job.objects.get()
    assert (job.kind, job.subject) == ("switch", "current")
    assert job.arguments == {"key": model.key, "keep_previous": True}


def test_what_is_current_already_is_refused_with_a_sentence(
    console: Client, furnished: RegisteredModel, queued: list[Job]
) -> None:
    answer = confirm(console, "registeredmodel_make_current", furnished.pk)
    assert "already leads to 'llama.cpp:tiny'" in message_of(answer)
    assert queued == []


def test_any_route_can_be_switched_from_its_own_page(console: Client, make_model: Any) -> None:
    model = make_model()
    route = Route.objects.create(name="support-bot")
    confirm(console, "route_switch_route", route.pk, model=str(model.pk))
    job = Job.objects.get()
    assert (job.subject, job.arguments["key"]) == ("support-bot", model.key)
    assert job.arguments["keep_previous"] is False


def test_a_model_of_a_disabled_provider_cannot_be_loaded(console: Client, make_model: Any) -> None:
    model = make_model()
    model.provider.kind, model.provider.enabled = "openai", False
    model.provider.save()
    answer = confirm(console, "registeredmodel_load_model", model.pk)
    assert "its provider is disabled" in message_of(answer)


def test_discover_becomes_a_job(console: Client, db: None, queued: list[Job]) -> None:
    confirm(console, "registeredmodel_discover_models")
    job = Job.objects.get()
    assert (job.kind, job.subject, job.arguments) == ("discover", "", {})
    assert queued == [job]


@pytest.mark.parametrize("pk", ["99", "abc", "1" * 40, "-1"])
def test_a_dialog_about_nothing_is_not_found(console: Client, pk: str) -> None:
    address = reverse("admin:models_app_registeredmodel_load_model", args=[pk])
    assert console.get(address).status_code == 404
    assert console.post(address, CONFIRMED).status_code == 404


def test_the_switch_dialog_says_what_is_current_now(console: Client, furnished: RegisteredModel) -> None:
    other = RegisteredModel.objects.get(model_id="other")
    address = reverse("admin:models_app_registeredmodel_make_current", args=[other.pk])
    assert "moves from llama.cpp:tiny to llama.cpp:other" in console.get(address).content.decode().replace(
        "&#x27;", "'"
    )

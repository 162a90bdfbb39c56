"""Every page opens, with numbers and times formatted for people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.models import AccessLog, AuditEntry, Instance, Job, Recovery, RegisteredModel
from tests.admin import addresses
from tests.admin.conftest import make_instance, make_job


def test_every_list_and_page_opens_for_a_superuser(console: Client, furnished: RegisteredModel) -> None:
    pages = [
        *addresses.lists_and_pages(),
        reverse("admin:index"),
        reverse("admin:models_app_apikey_add"),
    ]
    assert {page: console.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)


@pytest.mark.parametrize("table", ["instance", "job", "event", "accesslog", "route"])
def test_what_machines_write_cannot_be_added_changed_or_deleted(
    console: Client, furnished: RegisteredModel, table: str
) -> None:
    listing = reverse(f"admin:models_app_{table}_changelist")
    assert console.get(f"{listing}add/").status_code == 403
    page = next(p for p in addresses.lists_and_pages() if f"/{table}/" in p and "change/" in p)
    assert console.get(page.replace("/change/", "/delete/")).status_code == 403
    assert console.post(page, {"state": "ready", "name": "other"}).status_code == 403
    assert b'name="_save"' not in console.get(page).content


def test_the_models_list_says_what_people_ask_for(console: Client, furnished: RegisteredModel) -> None:
    page = console.get(reverse("admin:models_app_registeredmodel_changelist")).content.decode()
    for text in (
        "llama.cpp:tiny",
        "loaded",
        "current",
        "4.4\xa0GiB",
        "32K",
        "Q4_K_M",
        "chat completion",
    ):
        assert text in page


def test_a_model_page_gives_the_whole_reason_of_a_failure(console: Client, make_model: Any) -> None:
    reason = "The runner was ended by signal 6. " + "word " * 200 + "last line"
    model = make_model(status="failed", failure_stage="load", failure_reason=reason)
    page = console.get(reverse("admin:models_app_registeredmodel_change", args=[model.pk]))
    assert reason in page.content.decode()
    assert "NOA loads it again" not in page.content.decode()
    Recovery.objects.create(model=model, node="local", due_at=timezone.now() + timedelta(minutes=2))
    assert "NOA loads it again at" in console.get(page.request["PATH_INFO"]).content.decode()


def test_editing_a_model_leaves_its_status_alone(console: Client, make_model: Any) -> None:
    model = make_model(status="available")
    address = reverse("admin:models_app_registeredmodel_change", args=[model.pk])
    form = {
        "name": "Tiny",
        "description": "For tests.",
        "versions-TOTAL_FORMS": "0",
        "versions-INITIAL_FORMS": "0",
    }
    RegisteredModel.objects.filter(pk=model.pk).update(status="loading")
    assert console.post(address, form).status_code == 302
    model.refresh_from_db()
    assert (model.description, model.status) == ("For tests.", "loading")
    assert AuditEntry.objects.get(action="update_model").arguments == {"description": "For tests."}


def test_numbers_have_units(console: Client, furnished: RegisteredModel) -> None:
    make_instance(furnished, "stopped")
    instances = console.get(reverse("admin:models_app_instance_changelist")).content.decode()
    assert "5.0\xa0GiB" in instances
    assert "3.2\xa0s" in instances
    log = console.get(reverse("admin:models_app_accesslog_changelist")).content.decode()
    assert "12 in, 1,234 out" in log
    assert "44\xa0ms" in log
    assert "2.5\xa0s" in log
    assert "43.59" not in log


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=request-1", True),
        ("q=request", False),
        ("q=llama.cpp:tiny", True),
        ("outcome=ok", True),
        ("outcome=failed", False),
        ("since=1h&endpoint=chat/completions&model=llama.cpp:tiny", True),
        ("endpoint=embeddings", False),
        ("outcome=nonsense&since=nonsense", True),
    ],
)
def test_the_access_log_is_found_by_what_people_look_for(
    console: Client, furnished: RegisteredModel, query: str, found: bool
) -> None:
    page = console.get(reverse("admin:models_app_accesslog_changelist") + f"?{query}")
    assert page.status_code == 200
    row = AccessLog.objects.get()
    assert (f"/accesslog/{row.pk}/change/" in page.content.decode()) is found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=tiny", True),
        ("q=nothing-like-it", False),
        ("capability=chat_completion", True),
        ("capability=vision", False),
        ("quantization=Q4_K_M", True),
        ("quantization=Q8_0", False),
        ("status__exact=loaded", True),
    ],
)
def test_models_are_found_by_what_people_look_for(
    console: Client, furnished: RegisteredModel, query: str, found: bool
) -> None:
    page = console.get(reverse("admin:models_app_registeredmodel_changelist") + f"?{query}")
    assert (f"/registeredmodel/{furnished.pk}/change/" in page.content.decode()) is found


def test_a_page_of_a_row_that_is_not_there_leads_back(console: Client) -> None:
    for name, pk in (("registeredmodel", 99), ("registeredmodel", "abc"), ("job", "abc")):
        answer = console.get(reverse(f"admin:models_app_{name}_change", args=[pk]))
        assert answer.status_code == 302


def test_a_job_page_follows_a_job_and_stops_when_it_ended(console: Client, make_model: Any) -> None:
    model = make_model()
    steps = [{"name": "warm_up", "state": "running", "started_at": "", "seconds": None, "detail": "x"}]
    job = make_job(subject=model.key, state="running", progress=0.625, steps=steps)
    address = reverse("admin:models_app_job_change", args=[job.pk])
    progress = reverse("admin:models_app_job_progress", args=[job.pk])
    page = console.get(address).content.decode()
    assert f'hx-get="{progress}"' in page
    assert "Warm up" in page
    assert "62 %" in page

    Job.objects.filter(pk=job.pk).update(state="failed", error_code="load_failed", error_message="No memory was left.")
    assert console.get(progress)["HX-Refresh"] == "true"
    for where in (address, progress):
        page = console.get(where).content.decode()
        assert "hx-get" not in page.partition('id="noa-job"')[2].partition("</section>")[0]
        assert "No memory was left." in page
        assert f"Go to {model.key}" in page


def test_a_jobs_result_is_told_with_units(console: Client) -> None:
    result = {
        "memory_bytes": 5_368_709_120,
        "load_seconds": 3.21,
        "refused": [{"file": "/m/x.gguf", "reason": "It is cut off."}],
        "previous": None,
    }
    job = make_job(state="succeeded", progress=1.0, result=result)
    page = console.get(reverse("admin:models_app_job_progress", args=[job.pk])).content.decode()
    for text in ("5.0\xa0GiB", "3.2\xa0s", "/m/x.gguf: It is cut off.", "Refused (1)"):
        assert text in page


def test_an_instance_page_opens_without_a_measurement(console: Client, make_model: Any) -> None:
    instance = Instance.objects.create(model=make_model(), node="local", state="queued")
    page = console.get(reverse("admin:models_app_instance_change", args=[instance.pk]))
    assert page.status_code == 200


@pytest.mark.parametrize("table", ["registeredmodel", "route", "accesslog", "job", "profilerun", "apikey"])
def test_an_empty_list_says_what_will_be_there(console: Client, table: str) -> None:
    address = reverse(f"admin:models_app_{table}_changelist")
    assert "noa-hint" in console.get(address).content.decode()
    assert "noa-hint" not in console.get(address + "?q=nothing").content.decode()

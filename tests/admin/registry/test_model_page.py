"""A model's page: state, capabilities, figures, history; and its dialogs."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.residency.ledger import LedgerCause, LedgerKind, LedgerOutcome, LifecycleFact, Origin
from models_app.models import AuditEntry, Job, ProfileRun, RegisteredModel, Route, RouteChange
from models_app.services.catalog import ledger
from models_app.services.lifecycle import consequences
from models_app.services.registry import capabilities
from models_app.services.registry.capabilities import Finding
from tests.admin.conftest import make_job
from tests.admin.test_dialogs import confirm, message_of


def page_of(client: Client, model: RegisteredModel) -> str:
    address = reverse("admin:models_app_registeredmodel_change", args=[model.pk])
    return client.get(address).content.decode().replace("&#x27;", "'")


def test_a_capability_is_told_with_its_evidence_and_date(console: Client, furnished: RegisteredModel) -> None:
    finding = Finding(Capability.CHAT_COMPLETION, Verdict.SUPPORTED, "It answered 'Hello'.")
    capabilities.record_probed(
        model=furnished, findings=[finding], version=furnished.version, actor="user:root", job_id=make_job().pk
    )
    page = page_of(console, furnished)
    assert "It answered 'Hello'." in page
    assert "proven" in page


def test_the_history_says_what_happened_and_why(console: Client, furnished: RegisteredModel) -> None:
    fact = LifecycleFact(
        LedgerKind.EVICTION,
        furnished.key,
        LedgerOutcome.DONE,
        Origin(LedgerCause.POLICY),
        reason="llama.cpp:other needed 4.3 GiB",
    )
    ledger.record(fact)
    assert "llama.cpp:other needed 4.3 GiB" in page_of(console, furnished)


def test_a_job_about_the_model_is_followed_on_its_page(console: Client, make_model: Any) -> None:
    model = make_model()
    job = make_job(subject=model.key, state="running", progress=0.25)
    page = page_of(console, model)
    assert reverse("admin:models_app_job_progress", args=[job.pk]) in page


def test_the_log_of_a_runner_is_read_beside_its_socket(
    console: Client, furnished: RegisteredModel, tmp_path: Path
) -> None:
    address = reverse("admin:models_app_registeredmodel_log", args=[furnished.pk])
    assert "There is no log here" in console.get(address).content.decode()
    (tmp_path / "a.log").write_text("<b>first</b>\nlast")
    furnished.instances.update(socket=str(tmp_path / "a.sock"))
    page = console.get(address).content.decode()
    assert "&lt;b&gt;first&lt;/b&gt;\nlast" in page


def test_the_copies_are_asked_for_again_and_again(console: Client, furnished: RegisteredModel) -> None:
    address = reverse("admin:models_app_registeredmodel_copies", args=[furnished.pk])
    page = console.get(address).content.decode()
    assert "5.0\xa0GiB" in page
    assert f'hx-get="{address}"' in page


def test_a_profile_becomes_a_job_with_its_loads(console: Client, furnished: RegisteredModel) -> None:
    answer = confirm(
        console, "registeredmodel_profile_model", furnished.pk, requests="5", concurrency="1, 8", max_tokens="16"
    )
    job = Job.objects.get(kind="profile")
    assert job.arguments["concurrency"] == [1, 8]
    assert job.arguments["requests"] == 5
    assert answer.status_code == 302


@pytest.mark.parametrize("word", ["", "many", "0", "1, 999"])
def test_a_wrong_number_at_a_time_is_said_beside_its_field(
    console: Client, furnished: RegisteredModel, word: str
) -> None:
    answer = confirm(
        console, "registeredmodel_profile_model", furnished.pk, requests="5", concurrency=word, max_tokens="16"
    )
    assert answer.status_code == 200
    assert not Job.objects.filter(kind="profile").exists()


def test_a_probe_becomes_a_job(console: Client, furnished: RegisteredModel) -> None:
    confirm(console, "registeredmodel_probe_model", furnished.pk)
    assert Job.objects.filter(kind="probe", subject=furnished.key).exists()


def test_pin_and_priority_are_stored_and_audited(console: Client, make_model: Any) -> None:
    model = make_model()
    confirm(console, "registeredmodel_keep_model", model.pk, pinned="on", priority="80", idle_ttl_seconds="")
    model.refresh_from_db()
    assert (model.pinned, model.priority, model.idle_ttl_seconds, model.on_demand) == (
        True,
        80,
        None,
        False,
    )
    assert AuditEntry.objects.get(action="update_model").subject == model.key
    assert "pinned: never evicted" in page_of(console, model)


def test_a_deprecation_says_why(console: Client, make_model: Any) -> None:
    model = make_model()
    confirm(console, "registeredmodel_deprecate_model", model.pk, deprecated="on", deprecation_note="Use tide.")
    model.refresh_from_db()
    assert (model.deprecated, model.deprecation_note) == (True, "Use tide.")
    assert "Use tide." in page_of(console, model)


def test_an_unload_says_what_it_gives_back(console: Client, furnished: RegisteredModel) -> None:
    address = reverse("admin:models_app_registeredmodel_unload_model", args=[furnished.pk])
    text = console.get(address).content.decode()
    assert "It frees 5.0\xa0GiB." in text


def test_a_route_is_rolled_back_to_where_it_led(console: Client, make_model: Any) -> None:
    old, new = make_model("old"), make_model("new")
    route = Route.objects.create(name="bot", target=new)
    RouteChange.objects.create(route=route, previous_key=old.key, key=new.key)
    address = reverse("admin:models_app_route_roll_back_route", args=[route.pk])
    assert f"It goes back to {old.key}" in console.get(address).content.decode()
    confirm(console, "route_roll_back_route", route.pk)
    job = Job.objects.get()
    assert (job.subject, job.arguments["key"]) == ("bot", old.key)


def test_a_route_without_a_past_says_so(console: Client, make_model: Any) -> None:
    route = Route.objects.create(name="bot", target=make_model())
    assert "nothing to roll back to" in message_of(confirm(console, "route_roll_back_route", route.pk))


def test_a_job_is_cancelled_or_says_why_not(console: Client) -> None:
    job = make_job()
    confirm(console, "job_cancel_job", job.pk)
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert "has ended already" in message_of(confirm(console, "job_cancel_job", job.pk))
    assert AuditEntry.objects.filter(action="cancel_job").count() == 2


def make_profile(model: RegisteredModel, milliseconds: float) -> ProfileRun:
    run = ProfileRun.objects.create(
        model=model,
        complete=True,
        settings={"concurrency": [1]},
        settings_class="a",
        finished_at=timezone.now(),
        summary={"stages": [_stage(milliseconds)]},
        environment={"cpus": 2},
    )
    for number in range(20):
        run.samples.create(
            number=number,
            ok=True,
            prompt_tokens=9,
            completion_tokens=8,
            ttft_ms=milliseconds + number % 3,
            e2el_ms=milliseconds * 10 + number % 3,
        )
    return run


def _stage(milliseconds: float) -> dict[str, Any]:
    figure = {
        "n": 20,
        "mean": milliseconds,
        "p50": milliseconds,
        "p95": milliseconds,
        "p99": milliseconds,
    }
    ends = [milliseconds * 0.9, milliseconds * 1.1]
    figure["ci"] = {"p50": ends}  # type: ignore[assignment]
    return {
        "concurrency": 1,
        "requests": 20,
        "succeeded": 20,
        "success_rate": 1.0,
        "output_throughput": 100.0,
        "ttft_ms": figure,
        "e2el_ms": figure,
    }


def test_profiles_are_compared_with_intervals_and_a_verdict(console: Client, make_model: Any) -> None:
    fast, slow = make_profile(make_model("fast"), 40), make_profile(make_model("slow"), 80)
    page = console.get(reverse("console:compare"), {"run": [str(fast.pk), str(slow.pk)]})
    text = page.content.decode()
    for words in ("slower", "+98\xa0%", "36\xa0ms to 44\xa0ms", "llama.cpp:slow"):
        assert words in text


def test_what_cannot_be_compared_is_said(console: Client, make_model: Any) -> None:
    page = console.get(reverse("console:compare"), {"runs": "llama.cpp:none,llama.cpp:gone"})
    assert "neither a profile" in page.content.decode()
    assert "No model was profiled yet." in page.content.decode()


def test_a_baseline_is_marked(console: Client, make_model: Any) -> None:
    run = make_profile(make_model(), 40)
    confirm(console, "profilerun_make_baseline", run.pk)
    run.refresh_from_db()
    assert run.baseline


def test_figures_over_time_are_json(console: Client, furnished: RegisteredModel) -> None:
    answer = console.get(reverse("console:series"), {"window": "1h", "model": furnished.key})
    points = answer.json()["points"]
    assert len(points) == 61
    assert points[-1]["answered"] == 0
    assert console.get(reverse("console:series"), {"window": "2y"}).status_code == 400


def test_an_unload_says_what_it_means_for_requests(console: Client, furnished: RegisteredModel) -> None:
    address = reverse("admin:models_app_registeredmodel_unload_model", args=[furnished.pk])
    Route.objects.create(name="bot", target=furnished)
    told = consequences.of_unload(model=furnished).sentences
    page = html.unescape(console.get(address).content.decode())
    assert all(sentence in page for sentence in told)

"""Estimates load nothing, and a load that cannot fit is refused before its job is created."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.residency.ledger import (
    Figures,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
)
from models_app.domain.states import InstanceState
from models_app.engines import gguf
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel
from models_app.services.catalog import ledger
from models_app.services.registry import local_discovery
from tests.api.conftest import Api
from tests.fakes.gguf_files import write_tiny_gguf

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]

A, B = "llama.cpp:a", "llama.cpp:b"
MIB = 1 << 20


@pytest.fixture
def two(models_dir: Path, make_model: Callable[..., RegisteredModel], settings: Any) -> None:
    """Two models that need about 60 MiB each; b is loaded, and only one fits."""
    for number, name in enumerate("ab"):
        model = make_model(name)
        path = write_tiny_gguf(models_dir / f"{name}.gguf", name=name, seed=number)
        local_discovery.describe(model, path, gguf.inspect(path, roots=[models_dir]))
    model = RegisteredModel.objects.get(key=B)
    Instance.objects.create(
        model=model,
        version=model.version,
        node="local",
        state=InstanceState.READY,
        ready_at=timezone.now() - timedelta(minutes=10),
        memory_bytes=60 * MIB,
        socket="/nowhere",
    )
    settings.NOA_MEMORY_BUDGET = 100 * MIB


def estimate(api: Api, **body: Any) -> dict[str, Any]:
    answer = api.post("/models/load", {"key": A, "dry_run": True} | body)
    assert answer.status_code == 200, answer.content
    return answer.json()  # type: ignore[no-any-return]


def test_what_fits_is_said_to_fit_and_nothing_is_done(admin: Api, two: None, settings: Any) -> None:
    settings.NOA_MEMORY_BUDGET = 200 * MIB
    found = estimate(admin)
    assert (found["verdict"], found["would_evict"]) == ("fits", [])
    assert found["eta_seconds"] > 0
    assert 50 * MIB < found["needs_bytes"] < 90 * MIB
    assert not Job.objects.exists()
    assert estimate(admin, key=B)["verdict"] == "loaded"


def test_it_can_be_asked_for_in_the_address_too(admin: Api, two: None) -> None:
    answer = admin.post("/models/load?dry_run=true", {"key": A})
    # A runner that does not answer counts as busy.
    assert answer.json()["verdict"] == "would_wait"
    assert answer.json()["others"][0]["why"] == "is answering requests"


def test_a_load_that_cannot_fit_is_refused_before_there_is_a_job(admin: Api, two: None, settings: Any) -> None:
    RegisteredModel.objects.filter(key=B).update(pinned=True)
    found = estimate(admin)
    assert (found["verdict"], found["eta_seconds"]) == ("refused", None)
    assert f"{B} is pinned" in found["why"]
    answer = admin.post("/models/load", {"key": A})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (507, "insufficient_memory")
    assert error["details"]["needed_bytes"] == found["needs_bytes"]
    assert not Job.objects.exists()
    row = LedgerEntry.objects.get()
    assert (row.kind, row.cause, row.outcome) == (
        LedgerKind.REFUSAL,
        LedgerCause.KEY,
        LedgerOutcome.REFUSED,
    )
    assert Event.objects.get(name="load-refused").subject == A


def test_a_context_that_does_not_fit_is_offered_smaller(admin: Api, two: None, settings: Any) -> None:
    RegisteredModel.objects.filter(key=B).update(pinned=True)
    settings.NOA_MEMORY_BUDGET = 150 * MIB
    request = {"options": {"n_ctx": 400_000}}
    refused = estimate(admin, **request)
    assert refused["verdict"] == "refused"
    largest = refused["largest_context"]
    assert 256 <= largest < 400_000
    fitted = estimate(admin, **request, fit=True)
    assert (fitted["verdict"], fitted["options"]) == ("fits", {"n_ctx": largest})
    answer = admin.post("/models/load", {"key": A, "fit": True} | request)
    assert answer.json()["arguments"] == {"options": {"n_ctx": largest}}


def test_the_history_says_why_in_sentences(admin: Api, make_model: Callable[..., Any]) -> None:
    make_model("a")
    eviction = LifecycleFact(
        LedgerKind.EVICTION,
        A,
        LedgerOutcome.DONE,
        Origin(LedgerCause.POLICY, "key:ci"),
        reason="to make room for llama.cpp:b",
        data={"needed_bytes": 5 << 30, "idle_seconds": 1320},
    )
    load = LifecycleFact(
        LedgerKind.LOAD,
        A,
        LedgerOutcome.DONE,
        Origin(LedgerCause.KEY, "key:ci"),
        figures=Figures(measured_bytes=100 * MIB, measured_seconds=1.5),
    )
    for fact in (eviction, load):
        ledger.record(fact)
    history = admin.get(f"/models/{A}/history").json()["history"]
    assert [entry["sentence"] for entry in history] == [
        f"{A} was loaded: it took 1.5 s and holds 100 MiB, because the API key 'ci' requested it.",
        f"{A} was unloaded to make room for llama.cpp:b, which needs 5.0 GiB; it had not been used for 22 min.",
    ]
    assert admin.get("/models/llama.cpp:none/history").status_code == 404


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("pinned", True, "yes"),
        ("priority", 80, 101),
        ("idle_ttl_seconds", None, -1),
        ("min_residency_seconds", 60, 1.5),
        ("on_demand", False, None),
    ],
)
def test_what_decides_who_makes_room_is_changed_by_a_patch(
    admin: Api, make_model: Callable[..., Any], field: str, good: Any, bad: Any
) -> None:
    make_model("a")
    assert admin.patch(f"/models/{A}", {field: good}).json()[field] == good
    refused = admin.patch(f"/models/{A}", {field: bad})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)

"""Reading models: the list, one, those of a provider, the current one, versions and instances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from models_app.domain.states import InstanceState
from models_app.models import Instance, ModelVersion, Recovery, RegisteredModel
from models_app.services.routes import routing
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]

CHANGING = {"created_at": "", "updated_at": ""}


def test_it_lists_models(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    make_model("b")
    answer = admin.get("/models").json()
    assert (answer["count"], answer["next"], answer["previous"]) == (2, None, None)
    assert [model["key"] for model in answer["models"]] == ["llama.cpp:a", "llama.cpp:b"]
    model = answer["models"][0]
    assert model["version"].pop("created_at").endswith("Z")
    assert model | CHANGING == CHANGING | {
        "key": "llama.cpp:a",
        "provider": "llama.cpp",
        "model_id": "a",
        "name": "A",
        "description": "",
        "status": "available",
        "failure": None,
        "deprecated": False,
        "deprecation_note": "",
        "gone_at": None,
        "wanted": False,
        "capabilities": ["text_generation", "chat_completion"],
        "proven": [],
        "context_window": 2048,
        "max_output_tokens": None,
        "load_options": {},
        "pinned": False,
        "priority": 50,
        "idle_ttl_seconds": None,
        "min_residency_seconds": None,
        "on_demand": True,
        "tags": [],
        "metadata": {},
        "price": None,
        "performance": {
            "total_inferences": 0,
            "average_latency_ms": None,
            "tokens_per_second": None,
            "success_rate": None,
            "memory_bytes": None,
            "last_benchmarked_at": None,
        },
        "version": {
            "sha256": "0" * 64,
            "path": "/models/a.gguf",
            "size_bytes": 1000,
            "quantization": "Q8_0",
            "architecture": "",
        },
        "access_count": 0,
        "last_accessed_at": None,
    }


def test_one_model_looks_as_in_the_list(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    listed = admin.get("/models").json()["models"][0]
    read = admin.get("/models/llama.cpp:a").json()
    counted = {"access_count": 1, "last_accessed_at": read["last_accessed_at"]}
    assert read == listed | counted


def test_a_failure_is_told_with_its_stage(admin: Api, make_model: MakeModel) -> None:
    model = make_model("a", status="failed")
    model.failure_stage, model.failure_reason = "load", "It is not a model."
    model.failed_at = datetime(2026, 1, 1, tzinfo=UTC)
    model.save()
    assert admin.get("/models/llama.cpp:a").json()["failure"] == {
        "stage": "load",
        "reason": "It is not a model.",
        "at": "2026-01-01T00:00:00Z",
        "next_attempt_at": None,
    }
    Recovery.objects.create(model=model, node="local", due_at=datetime(2026, 1, 1, 0, 2, tzinfo=UTC))
    assert admin.get("/models/llama.cpp:a").json()["failure"]["next_attempt_at"] == "2026-01-01T00:02:00Z"


def test_each_read_counts_itself(admin: Api, make_model: MakeModel) -> None:
    make_model("counted")
    counts = [admin.get("/models/llama.cpp:counted").json()["access_count"] for _ in range(3)]
    assert counts == [1, 2, 3]


def test_the_list_counts_nothing_and_shows_what_was_counted(admin: Api, make_model: MakeModel) -> None:
    make_model("listed")
    admin.get("/models/llama.cpp:listed")
    shown = [admin.get("/models").json()["models"][0] for _ in range(3)]
    assert [model["access_count"] for model in shown] == [1, 1, 1]
    assert shown[0]["last_accessed_at"].endswith("Z")


def test_pages_lead_to_each_other(admin: Api, make_model: MakeModel) -> None:
    for number in range(5):
        make_model(f"m{number}")
    first = admin.get("/models?page_size=2&q=m").json()
    assert [model["model_id"] for model in first["models"]] == ["m0", "m1"]
    assert first["next"] == "http://testserver/api/v1/models?page_size=2&q=m&page=2"
    second = admin.get(first["next"].removeprefix("http://testserver/api/v1")).json()
    assert [model["model_id"] for model in second["models"]] == ["m2", "m3"]
    last = admin.get(second["next"].removeprefix("http://testserver/api/v1")).json()
    assert [model["model_id"] for model in last["models"]] == ["m4"]
    assert (last["next"], last["count"]) == (None, 5)
    assert last["previous"] == "http://testserver/api/v1/models?page_size=2&q=m&page=2"


def test_it_lists_the_models_of_a_provider(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    make_model("b", status="loaded")
    assert admin.get("/models/llama.cpp").json()["count"] == 2
    assert admin.get("/models/llama.cpp?status=loaded").json()["count"] == 1
    answer = admin.get("/models/nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "provider_not_found")


def test_current_is_nothing_at_first(admin: Api) -> None:
    assert admin.get("/models/current").json() == {"route": "current", "model": None}


def test_current_is_what_the_route_leads_to(admin: Api, make_model: MakeModel) -> None:
    route = routing.get()
    route.target = make_model("a")
    route.save()
    assert admin.get("/models/current").json()["model"]["key"] == "llama.cpp:a"
    assert admin.get("/models/loaded").json() == {
        "count": 0,
        "current_model": "llama.cpp:a",
        "instances": [],
    }


def test_it_lists_the_versions_of_a_model(admin: Api, make_model: MakeModel) -> None:
    model = make_model("a")
    old = model.version
    model.version = ModelVersion.objects.create(
        model=model, sha256="1" * 64, path="/models/a.gguf", size_bytes=2, file_mtime_ns=2
    )
    model.save()
    versions = admin.get("/models/llama.cpp:a/versions").json()["versions"]
    assert [(one["sha256"][0], one["current"]) for one in versions] == [("1", True), ("0", False)]
    assert old is not None
    page = admin.get("/models/llama.cpp:a/versions?limit=1").json()
    assert "before=" in page["next"]


def test_it_lists_the_instances_of_a_model(admin: Api, make_model: MakeModel) -> None:
    model = make_model("a")
    ended = Instance.objects.create(
        model=model,
        version=model.version,
        node="local",
        state=InstanceState.FAILED,
        failure_stage="load",
        failure_reason="It broke.",
    )
    Instance.objects.create(model=model, version=model.version, node="local", state="ready")
    newest, oldest = admin.get("/models/llama.cpp:a/instances").json()["instances"]
    assert (newest["state"], newest["failure"]) == ("ready", None)
    assert oldest["id"] == str(ended.pk)
    assert oldest["failure"] == {"stage": "load", "reason": "It broke."}


@pytest.mark.parametrize("below", ["versions", "instances"])
def test_lists_below_an_unknown_model_are_not_found(admin: Api, below: str) -> None:
    answer = admin.get(f"/models/llama.cpp:none/{below}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")

"""Capabilities, probes and profiles: the answers before the work begins, and the results after it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.states import InstanceState
from models_app.models import Instance, Job, ProfileRun, ProfileSample, RegisteredModel
from models_app.services.registry import capabilities
from models_app.services.registry.capabilities import Finding
from tests.api.conftest import Api

pytestmark = pytest.mark.usefixtures("queued")

MakeModel = Callable[..., RegisteredModel]
KEY = "llama.cpp:tiny"


@pytest.fixture
def model(make_model: MakeModel) -> RegisteredModel:
    return make_model("tiny")


@pytest.fixture
def loaded(model: RegisteredModel) -> RegisteredModel:
    Instance.objects.create(model=model, version=model.version, node="local", state=InstanceState.READY)
    return model


def profile_of(model: RegisteredModel, **fields: Any) -> ProfileRun:
    return ProfileRun.objects.create(model=model, version=model.version, **fields)


def shown(answer: Any, capability: str) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    found = answer.json()["capabilities"]
    return next(one for one in found if one["capability"] == capability)


def test_each_capability_is_shown_with_its_evidence(admin: Api, model: RegisteredModel) -> None:
    job_id = uuid.uuid4()
    capabilities.record_declared(model=model, capabilities=["chat_completion"], detail="By hand.")
    finding = Finding(
        Capability.TEXT_GENERATION,
        Verdict.SUPPORTED,
        "It wrote.",
        {"effective_context": 2000},
        {"prompt": "x"},
        "d" * 64,
        "engine 1",
    )
    capabilities.record_probed(model=model, version=model.version, findings=[finding], actor="test", job_id=job_id)
    answer = admin.get(f"/models/{KEY}/capabilities")
    one = shown(answer, "text_generation")
    assert (one["supported"], one["proven"]) == (True, True)
    evidence = one["evidence"][0]
    assert evidence.pop("checked_at").endswith("Z")
    assert evidence == {
        "source": "probed",
        "verdict": "supported",
        "detail": "It wrote.",
        "value": {"effective_context": 2000},
        "request": {"prompt": "x"},
        "request_digest": "d" * 64,
        "engine": "engine 1",
        "version": "0" * 64,
        "stale": False,
        "job_id": str(job_id),
    }
    assert answer.json()["effective_context"] == 2000
    declared = shown(answer, "chat_completion")
    assert (declared["supported"], declared["proven"]) == (True, False)
    assert declared["evidence"][0]["version"] is None
    assert [one["capability"] for one in answer.json()["capabilities"]] == list(Capability)


def test_the_capabilities_of_an_unknown_model_are_not_found(admin: Api, db: None) -> None:
    assert admin.get("/models/llama.cpp:none/capabilities").status_code == 404


def test_a_probe_is_answered_with_its_job(admin: Api, loaded: RegisteredModel, queued: list[Job]) -> None:
    answer = admin.post(f"/models/{KEY}/capabilities/probe", {"capabilities": ["embeddings"]})
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert (job["kind"], job["subject"]) == ("probe", KEY)
    assert job["arguments"] == {"capabilities": ["embeddings"], "effective_context": None}
    assert [str(one.pk) for one in queued] == [job["id"]]


def test_a_profile_is_answered_with_its_job(admin: Api, loaded: RegisteredModel) -> None:
    answer = admin.post(f"/models/{KEY}/profile", {"requests": 3, "prompts": ["Why?"]})
    assert answer.status_code == 202, answer.content
    assert answer.json()["arguments"] == {
        "requests": 3,
        "concurrency": [1],
        "max_tokens": 64,
        "prompt_tokens": None,
        "prompts": ["Why?"],
        "warmup": 2,
        "ignore_eos": None,
    }


@pytest.mark.parametrize("verb", ["capabilities/probe", "profile"])
def test_a_model_that_is_not_loaded_is_refused(admin: Api, model: RegisteredModel, verb: str) -> None:
    answer = admin.post(f"/models/{KEY}/{verb}")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "model_not_loaded"
    assert admin.post(f"/models/llama.cpp:none/{verb}").status_code == 404
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("capabilities/probe", {"capabilities": ["rerank"]}),
        ("capabilities/probe", {"capabilities": "chat_completion"}),
        ("capabilities/probe", {"capabilities": ["embeddings"] * 100}),
        ("capabilities/probe", {"capabilities": None}),
        ("capabilities/probe", {"effective_context": "perhaps"}),
        ("capabilities/probe", {"capability": []}),
        ("profile", {"requests": 0}),
        ("profile", {"requests": 1001}),
        ("profile", {"requests": True}),
        ("profile", {"concurrency": [65]}),
        ("profile", {"concurrency": 1}),
        ("profile", {"concurrency": []}),
        ("profile", {"concurrency": [2, 2]}),
        ("profile", {"warmup": -1}),
        ("profile", {"prompts": ["Why?"], "prompt_tokens": 5}),
        ("profile", {"max_tokens": 0}),
        ("profile", {"max_tokens": 4097}),
        ("profile", {"prompt_tokens": 0}),
        ("profile", {"prompts": [""]}),
        ("profile", {"prompts": ["x" * 20_001]}),
        ("profile", {"prompts": ["x"] * 101}),
        ("profile", {"prompts": ["a\0b"]}),
        ("profile", {"prompts": ["\ud800"]}),
        ("profile", {"test_count": 5}),
        ("profile", b"[]"),
    ],
)
def test_a_wrong_body_is_refused(admin: Api, loaded: RegisteredModel, verb: str, body: Any) -> None:
    answer = admin.post(f"/models/{KEY}/{verb}", body)
    assert answer.status_code == 400, answer.content
    assert not Job.objects.exists()


@pytest.mark.parametrize("verb", ["capabilities/probe", "profile"])
def test_asking_for_work_needs_the_scope_for_it(api: Callable[..., Api], loaded: RegisteredModel, verb: str) -> None:
    assert api("read").post(f"/models/{KEY}/{verb}").status_code == 403
    assert api("infer").post(f"/models/{KEY}/{verb}").status_code == 403
    assert api("operate").post(f"/models/{KEY}/{verb}").status_code == 202


def test_profiles_are_listed_newest_first_in_pages(admin: Api, model: RegisteredModel) -> None:
    rows = [profile_of(model) for _ in range(3)]
    first = admin.get(f"/models/{KEY}/profiles?limit=2").json()
    assert [one["id"] for one in first["profiles"]] == [str(rows[2].pk), str(rows[1].pk)]
    second = admin.get(first["next"].partition("/api/v1")[2]).json()
    assert [one["id"] for one in second["profiles"]] == [str(rows[0].pk)]
    assert second["next"] is None


def test_a_profile_is_shown_with_its_samples(admin: Api, model: RegisteredModel) -> None:
    row = profile_of(model, settings={"requests": 1})
    ProfileSample.objects.create(run=row, number=0, ok=False, error="Too long.", e2el_ms=1.5)
    body = admin.get(f"/profiles/{row.pk}").json()
    assert (body["key"], body["version"], body["complete"], body["summary"]) == (
        KEY,
        "0" * 64,
        False,
        None,
    )
    assert body["samples"] == [
        {
            "stage": 0,
            "concurrency": 1,
            "number": 0,
            "ok": False,
            "error": "Too long.",
            "prompt_tokens": None,
            "cached_tokens": None,
            "completion_tokens": None,
            "started_ms": 0.0,
            "ttft_ms": None,
            "e2el_ms": 1.5,
            "gaps_ms": [],
        }
    ]


def test_an_unknown_profile_is_not_found(admin: Api) -> None:
    answer = admin.get(f"/profiles/{uuid.uuid4()}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")


@pytest.mark.parametrize("verb", ["capabilities/probe", "profile"])
def test_the_same_idempotency_key_is_the_same_job(admin: Api, loaded: RegisteredModel, verb: str) -> None:
    answers = [admin.post(f"/models/{KEY}/{verb}", **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]

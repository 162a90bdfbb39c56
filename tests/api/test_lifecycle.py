"""POST /models/load, unload, switch, discover, and GET /jobs/{id}: the answers before the work begins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from models_app.domain.states import JobKind, JobState
from models_app.models import Instance, Job, RegisteredModel
from models_app.services.jobs import jobs, waiting
from models_app.services.routes import routing
from tests.api.conftest import Api

pytestmark = pytest.mark.usefixtures("queued")

MakeModel = Callable[..., RegisteredModel]


def test_a_load_is_answered_with_its_job(admin: Api, make_model: MakeModel, queued: list[Job]) -> None:
    make_model("a")
    answer = admin.post("/models/load", {"key": "llama.cpp:a", "options": {"n_ctx": 512}})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["state"], job["subject"]) == ("load", "queued", "llama.cpp:a")
    assert job["arguments"] == {"options": {"n_ctx": 512}}
    assert job["actor"] == "key:test"
    assert answer["Location"] == f"/api/v1/jobs/{job['id']}"
    assert [str(one.pk) for one in queued] == [job["id"]]
    assert admin.get(f"/jobs/{job['id']}").json()["id"] == job["id"]


def test_provider_and_model_name_a_model_too(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    answer = admin.post("/models/load", {"provider": "llama.cpp", "model": "a"})
    assert answer.json()["subject"] == "llama.cpp:a"


def test_the_same_load_twice_is_one_job(admin: Api, make_model: MakeModel, queued: list[Job]) -> None:
    make_model("a")
    first = admin.post("/models/load", {"key": "llama.cpp:a"}).json()
    second = admin.post("/models/load", {"key": "llama.cpp:a"}).json()
    assert first["id"] == second["id"]
    assert len(queued) == 1


def test_a_load_with_other_options_waits_for_the_first(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    admin.post("/models/load", {"key": "llama.cpp:a"})
    answer = admin.post("/models/load", {"key": "llama.cpp:a", "options": {"slots": 2}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_in_progress")


@pytest.mark.parametrize("verb", ["load", "unload", "switch"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"key": "llama.cpp:a", "model": "a"}, 400, "invalid_request"),
        ({"provider": "llama.cpp"}, 400, "invalid_request"),
        ({"key": "a"}, 400, "invalid_key"),
        ({"key": "llama.cpp:none"}, 404, "model_not_found"),
        ({"key": "llama.cpp:../../etc/passwd"}, 400, "invalid_model_id"),
        ({"key": 7}, 400, "invalid_request"),
        ({"key": None}, 400, "invalid_request"),
        ({"key": "llama.cpp:a", "path": "/etc/passwd"}, 400, "unknown_field"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"\xff\xfe{\x00}\x00", 400, "invalid_json"),
        (b'{"key": NaN}', 400, "invalid_json"),
        (b'{"key": "\xed\xa0\x80"}', 400, "invalid_json"),
        (b'{"key":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
        (b'{"key":' + b"[" * 70 + b"]" * 70 + b"}", 400, "invalid_json"),
    ],
)
def test_bad_bodies_are_refused_and_make_no_job(
    admin: Api, make_model: MakeModel, verb: str, body: object, status: int, code: str
) -> None:
    make_model("a")
    answer = admin.post(f"/models/{verb}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["request_id"] == answer["X-Request-ID"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"n_ctx": -1},
        {"n_ctx": 2**31},
        {"n_ctx": "512"},
        {"n_ctx": 512.5},
        {"n_ctx": True},
        {"n_gpu_layers": -2},
        {"n_threads": 0},
        {"n_threads": 100_000},
        {"slots": 0},
        {"model_path": "/etc/passwd"},
        {"n_batch": 1},
    ],
)
def test_bad_options_are_refused_by_name(admin: Api, make_model: MakeModel, options: dict[str, object]) -> None:
    make_model("a")
    answer = admin.post("/models/load", {"key": "llama.cpp:a", "options": options})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == f"options.{next(iter(options))}"


def test_there_is_nothing_to_unload(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    answer = admin.post("/models/unload", {"key": "llama.cpp:a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_not_loaded")


def test_a_switch_to_where_the_route_leads_is_refused(admin: Api, make_model: MakeModel) -> None:
    model = make_model("a")
    Instance.objects.create(model=model, node="local", state="ready")
    route = routing.get()
    route.target = model
    route.save()
    answer = admin.post("/models/switch", {"key": "llama.cpp:a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_current")


@pytest.mark.parametrize("wait", ["-1", "301", "x", "nan", "inf"])
def test_an_impossible_wait_is_refused(admin: Api, make_model: MakeModel, wait: str) -> None:
    make_model("a")
    answer = admin.post(f"/models/load?wait={wait}", {"key": "llama.cpp:a"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "wait")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_who_waits_hears_of_the_end(admin: Api, make_model: MakeModel, state: JobState, queued: list[Job]) -> None:
    make_model("a")
    job = jobs.create(kind=JobKind.LOAD, subject="llama.cpp:a", arguments={"options": {}}, actor="other")[0]
    jobs._move(str(job.pk), JobState.RUNNING)
    ending = threading.Timer(0.2, end_elsewhere, (str(job.pk), state))
    wait = waiting.wait

    def begin_to_wait(**arguments: Any) -> Job:
        # Not earlier: a request after the job's end would create another one.
        ending.start()
        return wait(**arguments)

    with mock.patch.object(waiting, "wait", begin_to_wait):
        answer = admin.post("/models/load", {"key": "llama.cpp:a"}, Prefer="wait=20")
    ending.join()
    if state == JobState.SUCCEEDED:
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    else:
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "load_failed"
        assert answer.json()["error"]["details"]["job"] == str(job.pk)


def end_elsewhere(job_id: str, state: JobState) -> None:
    from django.db import connection

    try:
        jobs.end(job_id=job_id, state=state, error_code="load_failed" * (state == "failed"))
    finally:
        connection.close()


def test_an_unknown_job_is_not_found(admin: Api) -> None:
    answer = admin.get("/jobs/00000000-0000-0000-0000-000000000000")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


def test_discovery_is_a_job(admin: Api, queued: list[Job]) -> None:
    answer = admin.post("/models/discover")
    assert (answer.status_code, answer.json()["kind"]) == (202, "discover")
    assert len(queued) == 1

"""GET /jobs, GET /jobs/{id}, POST /jobs/{id}/cancel."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.scopes import Scope
from models_app.domain.states import JobKind, JobState
from models_app.models import Event, Job, RegisteredModel
from models_app.services.api_keys import keys
from models_app.services.jobs import jobs, waiting
from tests.api.conftest import Api
from tests.waiting import until

MakeModel = Callable[..., RegisteredModel]


def make(number: int = 0, **fields: Any) -> Job:
    job = Job.objects.create(**{"kind": JobKind.LOAD, "subject": f"llama.cpp:{number}", "actor": "key:a", **fields})
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() + timedelta(seconds=number))
    return job


def subjects(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [job["subject"].partition(":")[2] for job in answer.json()["jobs"]]


def test_jobs_are_listed_newest_first_page_by_page(admin: Api) -> None:
    for number in range(5):
        make(number)
    first = admin.get("/jobs?limit=2")
    assert subjects(first) == ["4", "3"]
    make(9)  # does not shift what follows
    second = admin.get(first.json()["next"].partition("/api/v1")[2])
    assert subjects(second) == ["2", "1"]
    third = admin.get(second.json()["next"].partition("/api/v1")[2])
    assert (subjects(third), third.json()["next"]) == (["0"], None)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "43210"),
        ("kind=switch", "1"),
        ("state=failed", "2"),
        ("state=failed&state=cancelled", "32"),
        ("subject=llama.cpp:4", "4"),
        ("actor=user:op", "0"),
        ("actor=", ""),
        ("kind=load&state=queued&actor=key:a", "4"),
        ("since=2999-01-01T00:00:00Z", ""),
        ("since=2000-01-01T00:00:00Z&kind=switch", "1"),
    ],
)
def test_jobs_are_chosen_by_every_filter_together(admin: Api, query: str, found: str) -> None:
    make(0, actor="user:op")
    make(1, kind=JobKind.SWITCH)
    make(2, state=JobState.FAILED)
    make(3, state=JobState.CANCELLED)
    make(4)
    assert "".join(subjects(admin.get(f"/jobs?{query}"))) == found


def test_a_job_tells_how_it_goes(admin: Api) -> None:
    job = make(state=JobState.FAILED, error_code="load_failed", error_message="Broken.")
    answer = admin.get(f"/jobs/{job.pk}").json()
    assert answer["error"] == {"code": "load_failed", "message": "Broken."}
    assert (answer["cancellable"], answer["cancelled_by"], answer["result"]) == (True, "", None)


def test_an_unknown_job_is_named(admin: Api) -> None:
    answer = admin.get(f"/jobs/{uuid.uuid4()}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


def test_a_queued_job_is_cancelled_at_once(admin: Api) -> None:
    job = make()
    answer = admin.post(f"/jobs/{job.pk}/cancel")
    assert answer.status_code == 200
    assert answer["Location"] == f"/api/v1/jobs/{job.pk}"
    shown = answer.json()
    assert (shown["state"], shown["cancelled_by"]) == ("cancelled", "key:test")
    assert shown["error"] == {
        "code": "cancelled",
        "message": "The job was cancelled by key:test.",
    }
    assert Event.objects.get(name="job-cancelled").job_id == job.pk


def test_a_running_job_is_asked_to_end(admin: Api) -> None:
    job = make(state=JobState.RUNNING)
    answer = admin.post(f"/jobs/{job.pk}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["cancel_requested_at"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"state": JobState.SUCCEEDED}, "job_ended"),
        ({"state": JobState.FAILED}, "job_ended"),
        ({"state": JobState.CANCELLED}, "job_ended"),
        ({"state": JobState.RUNNING, "cancellable": False}, "not_cancellable"),
        (
            {"state": JobState.RUNNING, "cancellable": False, "kind": JobKind.PROFILE},
            "not_cancellable",
        ),
    ],
)
def test_what_cannot_be_cancelled_says_why(admin: Api, fields: dict[str, Any], code: str) -> None:
    answer = admin.post(f"/jobs/{make(**fields).pk}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)


def test_a_cancel_takes_no_body(admin: Api) -> None:
    answer = admin.post(f"/jobs/{make().pk}/cancel", {"force": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_field")


def test_reading_keys_cancel_nothing(api: Callable[..., Api]) -> None:
    assert api(Scope.READ).post(f"/jobs/{make().pk}/cancel").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_a_job_hears_that_it_was_cancelled(make_model: MakeModel) -> None:
    """Other callers of the job get an error; the caller that cancelled it gets the job."""
    make_model("a")
    _, text = keys.create(name="ci", scopes=[Scope.OPERATE], actor="test")
    job, _ = jobs.create(kind=JobKind.LOAD, subject="llama.cpp:a", arguments={"options": {}}, actor="key:first")
    answers: list[Any] = []
    has_begun = threading.Event()
    wait_for = waiting.wait

    def noted(**arguments: Any) -> Job:
        has_begun.set()
        return wait_for(**arguments)

    def wait() -> None:
        try:
            answers.append(Api(text).post("/models/load?wait=20", {"key": "llama.cpp:a"}))
        finally:
            connection.close()

    def work() -> None:
        try:
            with jobs.run(job_id=str(job.pk), node="n") as run:
                assert run is not None
                until(lambda: run.check_cancelled(), "somebody cancels")
        finally:
            connection.close()

    threads = [threading.Thread(target=wait), threading.Thread(target=work)]
    with mock.patch.object(waiting, "wait", noted):
        for thread in threads:
            thread.start()
        assert has_begun.wait(20)
    until(lambda: jobs.get(job_id=job.pk).state == JobState.RUNNING, "the job runs")
    answer = Api(text).post(f"/jobs/{job.pk}/cancel?wait=20")
    for thread in threads:
        thread.join()
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    (other,) = answers
    assert (other.status_code, other.json()["error"]["code"]) == (409, "cancelled")
    assert other.json()["error"]["message"] == "The job was cancelled by key:ci."
    assert other.json()["error"]["details"]["job"] == str(job.pk)


def test_beyond_the_bound_a_request_that_would_wait_is_refused_before_any_work(
    admin: Api, make_model: MakeModel, queued: list[Job]
) -> None:
    make_model("a")
    body = {"key": "llama.cpp:a"}
    with mock.patch.object(waiting, "room", waiting.Room(0, share=0)):
        refused = admin.post("/models/load?wait=20", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_waiting")
        assert refused.headers["Retry-After"] == "5"
        assert not Job.objects.exists() and not queued
        assert admin.post("/models/load", body).status_code == 202
    assert admin.post("/models/load?wait=0.01", body).status_code == 202

"""A repeated request with the same key: the same work, the same answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.scopes import Scope
from models_app.domain.states import JobState
from models_app.models import ApiKey, IdempotencyKey, Job, RegisteredModel, Route
from models_app.services.api_keys import keys
from models_app.services.coordination import idempotency
from models_app.services.jobs import jobs
from models_app.tasks import queueing
from tests.api.conftest import Api

pytestmark = pytest.mark.usefixtures("queued")

MakeModel = Callable[..., RegisteredModel]
LOAD = {"key": "llama.cpp:a"}


def post(api: Api, path: str, body: object, key: str = "k-1") -> tuple[int, dict[str, object], bool]:
    answer = api.post(path, body, **{"Idempotency-Key": key})
    return answer.status_code, answer.json(), answer.get("Idempotent-Replayed") == "true"


def code(answer: tuple[int, dict[str, object], bool]) -> tuple[int, object]:
    return answer[0], answer[1]["error"]["code"]  # type: ignore[index]


def test_the_same_request_is_the_same_job(admin: Api, make_model: MakeModel, queued: list[Job]) -> None:
    make_model("a")
    status, job, replayed = post(admin, "/models/load", LOAD)
    assert (status, replayed) == (202, False)
    jobs.end(job_id=str(job["id"]), state=JobState.FAILED, error_code="x", error_message="X.")
    # Without the key it would be a new job.
    again = post(admin, "/models/load", LOAD)
    assert code(again) == (409, "x")
    assert again[1]["error"]["details"]["job"] == job["id"]  # type: ignore[index]
    assert again[2]
    assert Job.objects.count() == 1
    assert len(queued) == 1


def test_a_job_is_answered_as_it_is_now(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    job = post(admin, "/models/load", LOAD)[1]
    with jobs.run(job_id=str(job["id"]), node="n"):
        status, running, replayed = post(admin, "/models/load?wait=0", LOAD)
    assert (status, running["id"], running["state"], replayed) == (202, job["id"], "running", True)
    status, done, _ = post(admin, "/models/load?wait=5", LOAD)
    assert (status, done["id"], done["state"]) == (200, job["id"], "succeeded")


def test_what_was_made_is_answered_again(admin: Api) -> None:
    body = {"name": "fast", "description": "quick answers"}
    first = admin.post("/routes", body, **{"Idempotency-Key": "k"})
    again = admin.post("/routes", body, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first["Location"] == again["Location"]
    assert (first.get("Idempotent-Replayed"), again["Idempotent-Replayed"]) == (None, "true")
    assert Route.objects.filter(name="fast").count() == 1


def test_the_order_of_fields_does_not_matter(admin: Api) -> None:
    post(admin, "/routes", b'{"name": "fast", "description": "x"}')
    assert post(admin, "/routes", b'{"description": "x", "name": "fast"}')[2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/load", {"key": "llama.cpp:a", "options": {"n_ctx": 512}}),
        ("/models/load", {"key": "llama.cpp:b"}),
        ("/models/unload", LOAD),
    ],
)
def test_another_request_with_the_same_key_is_refused(
    admin: Api, make_model: MakeModel, path: str, body: dict[str, object]
) -> None:
    make_model("a")
    make_model("b")
    post(admin, "/models/load", LOAD)
    assert code(post(admin, path, body)) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_the_address_is_part_of_the_request(admin: Api) -> None:
    for number in (1, 2):
        job = Job.objects.create(kind="discover", subject=f"{number}")
        found = post(admin, f"/jobs/{job.pk}/cancel", {})
        assert found[0] == (200 if number == 1 else 422)


def test_keys_belong_to_whoever_sends_them(api: Callable[..., Api], make_model: MakeModel) -> None:
    """Even if two API keys have the same name."""
    make_model("a")
    make_model("b")
    assert post(api(Scope.OPERATE), "/models/load", LOAD)[0] == 202
    assert post(api(Scope.OPERATE), "/models/load", {"key": "llama.cpp:b"})[0] == 202


def test_a_refused_request_leaves_its_key_free(admin: Api, make_model: MakeModel) -> None:
    assert code(post(admin, "/models/load", LOAD)) == (404, "model_not_found")
    make_model("a")
    assert post(admin, "/models/load", LOAD)[0] == 202


def test_a_job_that_failed_while_its_caller_waited_stays_the_answer(
    admin: Api, make_model: MakeModel, queued: list[Job]
) -> None:
    make_model("a")

    def fail(job: Job) -> None:
        jobs.end(job_id=str(job.pk), state=JobState.FAILED, error_code="x", error_message="X.")

    with mock.patch.object(queueing, "enqueue", fail):
        assert code(post(admin, "/models/load?wait=5", LOAD)) == (409, "x")
    assert code(post(admin, "/models/load", LOAD)) == (409, "x")
    assert Job.objects.count() == 1


def test_while_the_first_is_under_way_the_second_is_told_to_wait(admin: Api) -> None:
    post(admin, "/routes", {"name": "fast"})
    IdempotencyKey.objects.update(status=None, answer=None)
    answer = admin.post("/routes", {"name": "fast"}, **{"Idempotency-Key": "k-1"})
    assert answer.json()["error"]["code"] == "idempotency_in_progress"
    assert (answer.status_code, answer["Retry-After"]) == (409, "1")


def test_a_request_that_a_dead_server_had_begun_is_done_again(admin: Api) -> None:
    post(admin, "/routes", {"name": "fast"})
    long_ago = timezone.now() - idempotency.ABANDONED - timedelta(seconds=1)
    IdempotencyKey.objects.update(status=None, answer=None, created_at=long_ago)
    assert code(post(admin, "/routes", {"name": "fast"})) == (409, "route_exists")


def test_a_secret_is_not_kept_to_be_shown_again(admin: Api) -> None:
    body = {"name": "ci", "scopes": ["infer"]}
    status, made, _ = post(admin, "/api-keys", body)
    assert status == 201
    assert code(post(admin, "/api-keys", body)) == (409, "idempotency_answer_gone")
    assert ApiKey.objects.filter(name="ci").count() == 1
    rows = str(list(IdempotencyKey.objects.values()))
    assert str(made["key"]).rpartition("_")[2] not in rows


@pytest.mark.parametrize("key", ["", "a" * 256, "a\tb", "ä", "a\x7f"])
def test_a_key_is_a_short_plain_text(admin: Api, key: str) -> None:
    assert code(post(admin, "/routes", {"name": "fast"}, key)) == (400, "invalid_idempotency_key")
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("key", ["a", "a" * 255, "3f6c-1 ~!", '{"a": 1}'])
def test_any_printable_key_will_do(admin: Api, key: str) -> None:
    assert post(admin, "/routes", {"name": "fast"}, key)[0] == 201


def test_old_keys_are_forgotten(admin: Api) -> None:
    for number in range(3):
        post(admin, "/routes", {"name": f"r{number}"}, f"k-{number}")
    long_ago = timezone.now() - idempotency.KEPT - timedelta(seconds=1)
    IdempotencyKey.objects.exclude(key="k-2").update(created_at=long_ago)
    post(admin, "/routes", {"name": "new"}, "k-new")
    assert sorted(IdempotencyKey.objects.values_list("key", flat=True)) == ["k-2", "k-new"]


def test_a_reading_key_cannot_learn_of_answers(admin: Api, api: Callable[..., Api]) -> None:
    post(admin, "/routes", {"name": "fast"})
    assert code(post(api(Scope.READ), "/routes", {"name": "fast"})) == (403, "permission_denied")


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_are_one_job() -> None:
    _, text = keys.create(name="ci", scopes=[Scope.OPERATE], actor="test")
    answers = _at_once(20, lambda: Api(text).post("/models/discover", {}, **{"Idempotency-Key": "k"}))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} == {str(Job.objects.get().pk)}
    refused = {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409}
    assert refused <= {"idempotency_in_progress"}


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_make_one_thing() -> None:
    _, text = keys.create(name="ci", scopes=[Scope.ADMIN], actor="test")
    body = {"name": "made once", "scopes": ["infer"]}
    answers = _at_once(20, lambda: Api(text).post("/api-keys", body, **{"Idempotency-Key": "k"}))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert ApiKey.objects.filter(name="made once").count() == 1


def _at_once(count: int, ask: Callable[[], Any]) -> list[Any]:
    answers: list[Any] = []
    barrier = threading.Barrier(count)

    def one() -> None:
        try:
            barrier.wait()
            answers.append(ask())
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers

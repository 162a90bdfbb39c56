"""Jobs: one at a time per subject, run once, ended once."""

from __future__ import annotations

import threading
import uuid

import pytest
from django.db import connection

from models_app.domain.errors import Conflict, InvalidRequest, NotFound
from models_app.domain.states import JobKind, JobState
from models_app.models import Job
from models_app.services.coordination import signals
from models_app.services.jobs import jobs, waiting

pytestmark = pytest.mark.django_db


def create(**changes: object) -> tuple[Job, bool]:
    wish = {"kind": JobKind.LOAD, "subject": "p:a", "arguments": {}, "actor": "test"} | changes
    return jobs.create(**wish)  # type: ignore[arg-type]


def test_the_same_wish_twice_is_one_job() -> None:
    first, created = create()
    again, created_again = create()
    assert (created, created_again) == (True, False)
    assert first == again


def test_another_wish_for_the_same_subject_is_refused_while_the_first_lasts() -> None:
    first, _ = create()
    with pytest.raises(Conflict, match=str(first.pk)):
        create(arguments={"options": {"slots": 2}})
    jobs.end(job_id=str(first.pk), state=JobState.FAILED)
    assert create(arguments={"options": {"slots": 2}})[1]


def test_it_records_steps_and_the_result() -> None:
    job, _ = create()
    with jobs.run(job_id=str(job.pk), node="n") as run:
        assert run is not None
        with run.step("one", "detail"):
            run.progress(0.5)
        run.result["x"] = 1
    job.refresh_from_db()
    assert (job.state, job.progress, job.result) == (JobState.SUCCEEDED, 1.0, {"x": 1})
    (step,) = job.steps
    assert (step["name"], step["state"], step["detail"]) == ("one", "done", "detail")


def test_progress_never_goes_back() -> None:
    job, _ = create()
    with jobs.run(job_id=str(job.pk), node="n") as run:
        assert run is not None
        run.progress(0.8)
        run.progress(0.2)
        assert run.job.progress == 0.8


def test_an_error_of_noa_ends_in_the_row() -> None:
    job, _ = create()
    with jobs.run(job_id=str(job.pk), node="n") as run:
        assert run is not None
        with run.step("one"):
            raise InvalidRequest("Not so.", code="because")
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_message) == (JobState.FAILED, "because", "Not so.")
    assert job.steps[0]["state"] == "failed"


def test_any_other_error_ends_in_the_row_and_is_raised() -> None:
    job, _ = create()
    with pytest.raises(ZeroDivisionError), jobs.run(job_id=str(job.pk), node="n"):
        raise ZeroDivisionError
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "internal_error")


def test_a_message_that_comes_twice_does_nothing() -> None:
    job, _ = create()
    with jobs.run(job_id=str(job.pk), node="n") as run:
        assert run is not None
    with jobs.run(job_id=str(job.pk), node="n") as again:
        assert again is None


def test_a_job_ends_once() -> None:
    ended: list[Job] = []

    def on_end(job: Job, **_: object) -> None:
        ended.append(job)

    signals.job_finished.connect(on_end)
    job, _ = create()
    assert jobs.end(job_id=str(job.pk), state=JobState.CANCELLED)
    assert not jobs.end(job_id=str(job.pk), state=JobState.SUCCEEDED)
    signals.job_finished.disconnect(on_end)
    assert [one.state for one in ended] == [JobState.CANCELLED]


@pytest.mark.django_db(transaction=True)
def test_who_waits_is_woken() -> None:
    job, _ = create()

    def end() -> None:
        try:
            jobs.end(job_id=str(job.pk), state=JobState.FAILED)
        finally:
            connection.close()

    other = threading.Thread(target=end)
    other.start()
    assert waiting.wait(job_id=job.pk, seconds=20).state == JobState.FAILED
    other.join()


def test_a_wait_ends_at_its_deadline() -> None:
    job, _ = create()
    assert waiting.wait(job_id=job.pk, seconds=0.05).state == JobState.QUEUED


def test_an_unknown_job_is_named() -> None:
    with pytest.raises(NotFound):
        jobs.get(job_id=uuid.uuid4())

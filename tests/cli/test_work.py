"""noa jobs and cancel."""

from __future__ import annotations

import json
from collections import deque

from tests.cli.conftest import Noa
from tests.cli.fake_noa import JOB_ID, FakeNoa, error, job


def test_jobs_lists_them_one_a_line(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("load", "running", progress=0.5), job("switch", "succeeded")])
    lines = noa("jobs", "--state", "running", "--state", "queued", "--limit", "2").out.splitlines()
    assert [line.split("\t")[1:5] for line in lines] == [
        ["load", "llama.cpp:tide", "running", "50%"],
        ["switch", "llama.cpp:tide", "succeeded", "100%"],
    ]


def test_jobs_refuses_a_state_that_is_none(noa: Noa) -> None:
    assert noa("jobs", "--state", "stuck").code == 2


def test_jobs_as_json_is_what_the_server_says(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("load")])
    assert json.loads(noa("jobs", "--json").out) == [job("load")]


def test_cancel_says_what_was_cancelled(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("load", "cancelled")])
    ended = noa("cancel", JOB_ID)
    assert (ended.code, ended.out) == (0, "The job was cancelled: load llama.cpp:tide.\n")
    assert fake.bodies(f"/api/v1/jobs/{JOB_ID}/cancel") == [{}]


def test_cancel_says_when_a_job_was_faster(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("load", "succeeded")])
    ended = noa("cancel", JOB_ID)
    assert ended.code == 5
    assert "it is succeeded" in ended.err


def test_cancel_passes_on_why_it_was_refused(fake: FakeNoa, noa: Noa) -> None:
    path = f"/api/v1/jobs/{JOB_ID}/cancel"
    fake.answers[path] = (409, error("not_cancellable", "The route has moved already."))
    ended = noa("cancel", JOB_ID)
    assert ended.code == 1
    assert "The route has moved already." in ended.err

"""noa load, unload, switch, discover and job."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import deque

from tests.cli.conftest import COMMAND, Noa, environment
from tests.cli.fake_noa import JOB_ID, FakeNoa, error, job, model, step

TIDE = "llama.cpp:noa-demo-tide"


def test_load_sends_only_the_options_that_were_given(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    result = {"key": TIDE, "instance": "x", "memory_bytes": 125829120, "load_seconds": 0.84}
    fake.jobs = deque([job("load"), job("load", "succeeded", result=result)])
    ended = noa("load", "noa-demo-tide", "--ctx", "512", "--gpu-layers", "-1")
    assert ended.code == 0
    assert fake.bodies("/api/v1/models/load") == [{"key": TIDE, "options": {"n_ctx": 512, "n_gpu_layers": -1}}]
    assert ended.out == f"{TIDE} is loaded (load time 0.8 s, memory 120 MiB).\n"


def test_each_step_is_said_once_on_standard_error_when_it_has_ended(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    start = step("start", detail="a runner")
    result = {"route": "current", "previous": None, "current": TIDE}
    fake.jobs = deque(
        [
            job("switch"),
            job("switch", "running", steps=[step("check", "running")]),
            job("switch", "running", steps=[step("check"), step("start", "running", "a runner")]),
            job("switch", "running", steps=[step("check"), start, step("move", "running")]),
            job("switch", "succeeded", steps=[step("check"), start, step("move")], result=result),
        ]
    )
    ended = noa("switch", TIDE)
    assert ended.err.splitlines() == ["check (0.5 s)", "start: a runner (0.5 s)", "move (0.5 s)"]
    assert ended.out == f"'current' leads to {TIDE} now (before: nothing).\n"


def test_switch_names_its_route_and_what_happens_to_the_model_before(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    result = {"route": "blue", "previous": "llama.cpp:old", "current": TIDE}
    fake.jobs = deque([job("switch", "succeeded", result=result)])
    assert noa("switch", TIDE, "--route", "blue", "--keep-previous").code == 0
    assert fake.bodies("/api/v1/models/switch") == [
        {"key": TIDE, "route": "blue", "keep_previous": True, "force": False}
    ]


def test_a_job_that_fails_ends_with_its_own_sentence_and_1(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    why = {"code": "insufficient_memory", "message": "It needs 9 GiB, and 2 GiB are free."}
    failed = job("load", "failed", steps=[step("check", "failed")], error=why)
    fake.jobs = deque([job("load"), failed])
    ended = noa("load", TIDE)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "check (0.5 s, failed)\nnoa: It needs 9 GiB, and 2 GiB are free.\n"


def test_unload_says_what_is_unloaded(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    fake.jobs = deque([job("unload", "succeeded", result={"key": TIDE})])
    assert noa("unload", TIDE).out == f"{TIDE} is unloaded.\n"


def test_discover_counts_and_names_what_it_refused(fake: FakeNoa, noa: Noa) -> None:
    refused = {"name": "/models/bad.gguf", "reason": "It is empty."}
    local = {"found": 2, "new": [TIDE], "changed": [], "gone": ["llama.cpp:b"], "unchanged": 1}
    failed = {"code": "provider_unreachable", "message": "It cannot be reached."}
    providers = {
        "llama.cpp": local | {"refused": [refused], "failed": None},
        "vllm": {"failed": failed},
    }
    fake.jobs = deque([job("discover", "succeeded", result={"providers": providers})])
    assert noa("discover").out.splitlines() == [
        "llama.cpp: 2 found, 1 new, 0 changed, 1 gone, 1 refused",
        f"new: {TIDE}",
        "gone: llama.cpp:b",
        "refused: /models/bad.gguf: It is empty.",
        "vllm: failed: It cannot be reached.",
    ]


def test_discover_asks_one_provider(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("discover", "succeeded", result={"providers": {}})])
    noa("discover", "openai")
    assert fake.bodies("/api/v1/models/discover") == [{"provider": "openai"}]


def test_no_wait_prints_the_job_and_looks_no_further(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("discover")])
    assert noa("discover", "--no-wait").out == JOB_ID + "\n"
    assert not fake.looked.is_set()
    fake.jobs = deque([job("discover")])
    assert json.loads(noa("discover", "--no-wait", "--json").out) == job("discover")


def test_job_shows_steps_and_error_of_a_failed_job(fake: FakeNoa, noa: Noa) -> None:
    why = {"code": "load_failed", "message": "It broke."}
    fake.jobs = deque([job("load", "failed", steps=[step("check"), step("start", "failed")], error=why)])
    ended = noa("job", JOB_ID)
    fields = dict(ended.rows)
    assert ended.code == 0
    assert fields["step start"] == "failed 0.5 s"
    assert fields["error"] == "It broke. (load_failed)"


def test_job_with_wait_ends_as_the_command_that_made_it_would(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("unload", "running"), job("unload", "succeeded", result={"key": TIDE})])
    assert noa("job", JOB_ID, "--wait").out == f"{TIDE} is unloaded.\n"
    fake.jobs = deque([job("unload", "cancelled")])
    assert noa("job", JOB_ID, "--wait").code == 1


def test_a_job_that_takes_too_long_is_left_and_named(fake: FakeNoa, noa: Noa) -> None:
    fake.jobs = deque([job("discover"), job("discover", "running")])
    ended = noa("discover", "--timeout", "0.3")
    assert ended.code == 5
    assert f"noa job {JOB_ID} --wait" in ended.err


def test_ctrl_c_leaves_the_job_running_and_says_so(fake: FakeNoa) -> None:
    fake.jobs = deque([job("discover"), job("discover", "running")])
    process = subprocess.Popen(
        [*COMMAND, "discover"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(fake.url),
        # In a background job SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert fake.looked.wait(30), "noa never looked at the job"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == (f"noa: Stopped waiting. The job continues on the server; 'noa job {JOB_ID} --wait' follows it.\n")
    assert all(method == "GET" for method, path, _ in fake.asked if "jobs" in path)


def test_a_refused_wish_ends_with_the_servers_sentence(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    answer = error("already_current", "'current' leads there already; nothing was changed.")
    fake.answers["/api/v1/models/switch"] = (409, answer)
    ended = noa("switch", TIDE)
    assert ended.code == 1
    assert ended.err == "noa: 'current' leads there already; nothing was changed.\n"

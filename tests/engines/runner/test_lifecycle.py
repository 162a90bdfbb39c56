"""The real program: start, failed start, drain and exit."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.errors import LoadFailed
from models_app.engines import control
from tests.engines.runner.conftest import Launch
from tests.engines.runner.program import SOON, WAIT, Program
from tests.fakes.gguf_files import write_tiny_gguf
from tests.waiting import until

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 30_000,
    "ignore_eos": True,
    "stream": True,
}


def generating(runner: Program) -> socket.socket:
    """A started stream that does not end soon."""
    client = runner.start(CHAT, **LONG)
    assert client.recv(4096).startswith(b"HTTP/1.1 200")
    return client


def test_it_reports_its_stages_in_order_and_listens_before_ready(tiny_model: Path, launch: Launch) -> None:
    runner = launch(tiny_model).wait_ready()
    stages = [stage for stage, _ in runner.stages]
    assert list(dict.fromkeys(stages)) == ["start", "load", "template", "warm_up"]
    load = [progress for stage, progress in runner.stages if stage == "load"]
    assert load == sorted(load)
    assert (load[0], load[-1]) == (0.0, 1.0)
    assert runner.ready is not None
    assert runner.ready.pid == runner.process.pid
    assert (runner.ready.n_ctx, runner.ready.slots) == (2048, 4)
    assert runner.ready.memory["rss_bytes"] > 0
    assert runner.health()["state"] == "ready"
    # The warm-up was a real generation.
    assert runner.health()["counters"]["completion_tokens"] == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}", "broken in line 1"),
        ("{{ raise_exception('Not today') }}", "Not today"),
        ("{{ messages[0].content + 5 }}", "does not render"),
        ("{{ 'a' * 10**10 }}", "MiB"),
        (
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
            "more than 2 s",
        ),
    ],
)
def test_a_template_that_cannot_work_fails_the_load(tmp_path: Path, launch: Launch, template: str, reason: str) -> None:
    runner = launch(write_tiny_gguf(tmp_path / "bad.gguf", chat_template=template))
    with pytest.raises(LoadFailed, match=reason) as failure:
        runner.wait_ready()
    assert failure.value.stage == "template"
    assert runner.exit_code() == 1


def test_a_file_that_is_no_model_fails_the_load(tmp_path: Path, launch: Launch) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 1000)
    runner = launch(path)
    with pytest.raises(LoadFailed) as failure:
        runner.wait_ready()
    assert failure.value.stage == "load"
    assert runner.exit_code() == 1


def test_a_model_without_a_template_completes_but_does_not_chat(tmp_path: Path, launch: Launch) -> None:
    runner = launch(write_tiny_gguf(tmp_path / "base.gguf", chat_template=None)).wait_ready()
    assert runner.refusal(CHAT, messages=LONG["messages"])[0] == "chat_not_supported"
    assert runner.post("/v1/completions", prompt="Hi", max_tokens=2)[0] == 200


def test_a_template_that_hangs_on_a_request_fails_only_that_request(tmp_path: Path, launch: Launch) -> None:
    trap = (
        "{% if messages | length > 5 %}{% for a in range(90000) %}{% for b in range(90000) %}"
        "{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}"
    )
    runner = launch(write_tiny_gguf(tmp_path / "trap.gguf", chat_template=trap)).wait_ready()
    turns = [{"role": role, "content": "Hi"} for role in ("user", "assistant")]
    assert runner.refusal(CHAT, messages=turns * 3) == ("template_error", "messages")
    assert runner.chat(max_tokens=1)[0] == 200


def test_it_ends_when_its_lifeline_ends(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, n_ctx=32_768).wait_ready()
    with generating(runner):
        assert runner.process.popen.stdin is not None
        runner.process.popen.stdin.close()
        assert runner.exit_code() == 0


def test_it_ends_when_its_lifeline_ends_before_it_is_ready(tiny_model: Path, launch: Launch) -> None:
    runner = launch(tiny_model)
    assert runner.process.popen.stdin is not None
    runner.process.popen.stdin.close()
    assert runner.exit_code() == 0
    os.close(runner.process.ready_pipe)


def test_sigterm_ends_an_idle_runner(tiny_model: Path, launch: Launch) -> None:
    runner = launch(tiny_model).wait_ready()
    runner.process.terminate()
    assert runner.exit_code() == 0


def test_sigterm_lets_a_running_answer_finish(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model).wait_ready()
    with runner.start(CHAT, **(LONG | {"max_tokens": 40})) as client:
        data = client.recv(4096)
        os.kill(runner.process.pid, signal.SIGTERM)
        while got := client.recv(65_536):
            data += got
    assert b"data: [DONE]" in data
    assert runner.exit_code() == 0


def test_a_second_sigterm_ends_it_at_once(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, n_ctx=32_768).wait_ready()
    with generating(runner):
        os.kill(runner.process.pid, signal.SIGTERM)
        runner.until_health("it drains", state="draining")
        os.kill(runner.process.pid, signal.SIGTERM)
        assert runner.exit_code() == 128 + signal.SIGTERM


def test_while_it_drains_new_work_is_refused_as_retryable(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, n_ctx=32_768).wait_ready()
    with generating(runner):
        assert control.drain(runner.spec.socket, wait=0) == 1
        assert runner.health()["state"] == "draining"
        for path, fields in (
            (CHAT, {"messages": LONG["messages"]}),
            ("/v1/completions", {"prompt": "Hi"}),
            ("/v1/embeddings", {"input": "Hi"}),
        ):
            status, answer = runner.post(path, **fields)
            assert (status, answer["error"]["code"]) == (503, "draining")
            assert answer["error"]["retryable"] is True
    assert control.drain(runner.spec.socket, wait=WAIT) == 0


def test_who_waits_for_the_drain_is_told_in_the_moment(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, n_ctx=32_768).wait_ready()
    left: list[int] = []
    client = generating(runner)
    waiter = threading.Thread(target=lambda: left.append(control.drain(runner.spec.socket, wait=20)))
    waiter.start()
    runner.until_health("it drains", state="draining")
    assert not left
    client.close()
    waiter.join(SOON + 2)
    assert left == [0]


def test_a_drain_that_takes_too_long_says_how_many_are_left(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, n_ctx=32_768).wait_ready()
    with generating(runner), generating(runner):
        assert control.drain(runner.spec.socket, wait=0.1) == 2


def test_it_offers_itself_to_the_out_of_memory_killer(runner: Program) -> None:
    score = Path(f"/proc/{runner.process.pid}/oom_score_adj")
    assert until(lambda: score.read_text().strip() == "800", "the score is set")

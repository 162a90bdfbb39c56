"""A runner parses untrusted files: its environment has no secrets of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_app.engines.spec import RunnerSpec
from models_app.engines.supervisor import Supervisor
from tests.conftest import fake_runner

CANARY = "sk-canary-1234567890"
VARIABLES = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "TEAM_KEY",
    "NOA_PROVIDERS",
    "NOA_SECRET_KEY",
    "NOA_ENCRYPTION_KEYS",
    "DATABASE_URL",
    "HTTPS_PROXY",
)


def test_a_runner_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, CANARY)
    supervisor = Supervisor(command=fake_runner(), folder=tmp_path / "run", on_death=lambda *death: None)
    supervisor.start()
    try:
        instance = "0a1b2c3d-0000-0000-0000-000000000000"
        runner = supervisor.launch(
            RunnerSpec(
                instance_id=instance,
                model="llama.cpp:tiny",
                fingerprint="f",
                path="/nowhere.gguf",
                socket=str(supervisor.socket_path(instance)),
                n_ctx=64,
                slots=1,
                n_batch=64,
                n_threads=1,
                n_gpu_layers=0,
            )
        )
        # Not before: /proc shows an empty environment for a moment after exec.
        runner.wait_ready(timeout=20, on_stage=lambda *_: None, stop=lambda: None)
        environment = Path(f"/proc/{runner.pid}/environ").read_text()
    finally:
        supervisor.close(grace=0.0)
    names = {entry.partition("=")[0] for entry in environment.split("\0")}
    assert "PATH" in names
    assert names.isdisjoint(VARIABLES)
    assert CANARY not in environment

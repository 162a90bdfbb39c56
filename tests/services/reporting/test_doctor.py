"""The checks of doctor, each with a fault."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from models_app.domain.measuring.diagnosis import Finding, Level
from models_app.engines import build
from models_app.engines.confinement import probing
from models_app.engines.confinement.confining import Mode
from models_app.models import Provider
from models_app.services.reporting import doctor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: Any) -> Path:
    """A data folder as a server creates it."""
    folder = tmp_path / "var"
    (folder / "models").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    settings.NOA_DATA_DIR, settings.NOA_MODELS_DIR = folder, folder / "models"
    settings.NOA_MODEL_ROOTS = [folder / "models"]
    return folder


def only(findings: Any) -> Finding:
    (found,) = findings
    assert isinstance(found, Finding)
    assert found.todo or found.level is Level.OK
    return found


def test_a_mistyped_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_MODEL_DIR", "/models")
    assert "NOA_MODELS_DIR" in only(doctor.variables()).todo
    assert [one.id for one in run_checks() if (one.id or "").startswith("noa.")] == ["noa.W001"]


def test_the_database_is_as_it_should_be() -> None:
    assert {one.level for one in doctor.database()} == {Level.OK}
    assert {one.level for one in doctor.clock()} <= {Level.OK}


def test_a_database_that_is_away_is_told_and_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import OperationalError

    def away() -> None:
        raise OperationalError("connection refused\nIs the server running?")

    monkeypatch.setattr(connection, "ensure_connection", away)
    monkeypatch.setattr(doctor, "engine", lambda: iter(()))
    found = {one.check: one for one in doctor.examine()}
    assert found["database"].what == "The database does not answer: connection refused."
    assert "worker" not in found
    assert "disk" in found


def test_migrations_that_wait_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [(("models_app", "9999_more"), False)]
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: plan)
    assert "1 migrations" in list(doctor.database())[-1].what


def test_a_broker_that_is_away_is_told(settings: Any, unused_port: int) -> None:
    settings.NOA_EMBEDDED = False
    settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{unused_port}/0"
    assert only(doctor.broker()).level is Level.PROBLEM


def test_a_redis_that_is_away_or_missing_is_told(settings: Any, unused_port: int) -> None:
    settings.NOA_LIMITS_URL = f"redis://127.0.0.1:{unused_port}/0"
    assert only(doctor.limits()).level is Level.PROBLEM
    settings.NOA_LIMITS_URL, settings.NOA_WEB_PROCESSES = None, 2
    assert only(doctor.limits()).level is Level.WARNING


def test_a_worker_that_nobody_heard_of_is_told() -> None:
    assert only(doctor.worker()).level is Level.WARNING


def test_a_key_that_others_can_read_is_told_with_the_command(data: Path) -> None:
    key = data / "secret_key"
    key.write_text("x")
    key.chmod(0o644)
    data.chmod(0o755)
    wrong = [one for one in doctor.folders() if one.level is Level.PROBLEM]
    assert [one.todo for one in wrong] == [f"chmod 700 {data}", f"chmod 600 {key}"]


def test_the_confinement_of_runners_is_tried(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(doctor.confinement())
    assert found
    assert all(one.level in (Level.OK, Level.WARNING) for one in found)
    settings.NOA_CONFINE = Mode.OFF
    assert "NOA_CONFINE=off" in only(doctor.confinement()).what
    monkeypatch.setattr(probing, "missing", lambda: ["Landlock (no)"])
    for mode, level in ((Mode.AUTO, Level.WARNING), (Mode.REQUIRE, Level.PROBLEM)):
        settings.NOA_CONFINE = mode
        assert (only(doctor.confinement()).level, "Landlock" in only(doctor.confinement()).what) == (level, True)


def test_a_model_folder_that_is_not_there_is_told(settings: Any) -> None:
    settings.NOA_MODEL_ROOTS = [Path("/nonexistent/models")]
    assert "models" in [one.check for one in doctor.folders() if one.level is Level.WARNING]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("U", (), {"free": 5})())
    assert only(doctor.disk()).level is Level.PROBLEM


def test_a_port_that_is_taken_is_told_unless_the_server_has_it(settings: Any, data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings.NOA_HOST, settings.NOA_PORT = "127.0.0.1", other.getsockname()[1]
        assert only(doctor.port()).level is Level.PROBLEM
        (data / "server.lock").write_text("1")
        assert only(doctor.port()).level is Level.OK


def test_a_secret_that_cannot_be_opened_is_told() -> None:
    Provider.objects.create(slug="mine", kind="openai", base_url="https://example.com/v1", secret="not sealed")
    found = only(doctor.secrets())
    assert (found.level, found.what.startswith("'mine'")) == (Level.PROBLEM, True)


def test_a_llama_cpp_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_PROGRAM", "raise SystemExit('illegal instruction')")
    assert "illegal instruction" in only(doctor.engine()).what


def test_the_processor_and_the_build_are_read(tmp_path: Path) -> None:
    told = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 0 | CUDA : ARCHS = 800 | "
    assert build.features(told) == {"SSE3", "AVX"}
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx\nprocessor : 1\n")
    assert build.processor(tmp_path / "cpuinfo") == {"fpu", "avx"}
    assert build.processor(tmp_path / "nothing") == frozenset()


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(("level", "code"), [(Level.WARNING, 0), (Level.PROBLEM, 1)])
def test_the_command_ends_with_one_for_a_problem(monkeypatch: pytest.MonkeyPatch, level: Level, code: int) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("disk", level, "Full.", "Make room.")])
    codes: list[int] = []
    monkeypatch.setattr(sys, "exit", codes.append)
    out = StringIO()
    call_command("doctor", json=True, stdout=out)
    assert json.loads(out.getvalue())[0]["todo"] == "Make room."
    text = StringIO()
    call_command("doctor", stdout=text)
    assert "-> Make room." in text.getvalue()
    assert codes == [code] * 2 if code else codes == []


def test_limits_that_nobody_can_hold_are_an_error_of_the_settings(settings: Any) -> None:
    settings.NOA_KEY_LIMITS = {"requests_per_minute": 5}
    settings.NOA_WEB_PROCESSES, settings.NOA_LIMITS_URL = 2, None
    assert "noa.E001" in [one.id for one in run_checks()]

"""The supervisor, with real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from models_app.domain.errors import Conflict, LoadFailed, Unavailable
from models_app.engines import control, identity, process
from models_app.engines.process import Ready, RunnerProcess
from models_app.engines.spec import RunnerSpec
from models_app.engines.supervisor import Supervisor
from tests.conftest import fake_runner
from tests.waiting import until

Make = Callable[..., Supervisor]
INSTANCE = "0a1b2c3d-0000-0000-0000-000000000000"


@pytest.fixture
def deaths() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def make(tmp_path: Path, deaths: list[tuple[str, str, str]]) -> Iterator[Make]:
    made: list[Supervisor] = []

    def start(behaviour: str = "good") -> Supervisor:
        supervisor = Supervisor(
            command=fake_runner(behaviour),
            folder=tmp_path / "run",
            on_death=lambda *death: deaths.append(death),
        )
        supervisor.start()
        made.append(supervisor)
        return supervisor

    yield start
    for supervisor in made:
        if not supervisor.closing:
            supervisor.close(grace=0.0)


def launch(supervisor: Supervisor) -> RunnerProcess:
    spec = RunnerSpec(
        instance_id=INSTANCE,
        model="llama.cpp:tiny",
        fingerprint="f",
        path="/nowhere.gguf",
        socket=str(supervisor.socket_path(INSTANCE)),
        n_ctx=64,
        slots=1,
        n_batch=64,
        n_threads=1,
        n_gpu_layers=0,
    )
    return supervisor.launch(spec)


def ready(runner: RunnerProcess, timeout: float = 20.0, stop: str | None = None) -> Ready:
    return runner.wait_ready(timeout=timeout, on_stage=lambda *_: None, stop=lambda: stop)


def test_it_starts_a_runner_and_stops_it(make: Make, deaths: list[object]) -> None:
    supervisor = make()
    runner = launch(supervisor)
    assert ready(runner).pid == runner.pid
    assert control.health(runner.spec.socket)["state"] == "ready"
    supervisor.stop(INSTANCE, grace=5.0)
    assert not psutil.pid_exists(runner.pid)
    assert supervisor.get(INSTANCE) is None
    assert list(supervisor.folder.iterdir()) == []
    assert deaths == []


def test_it_reports_the_stages_of_a_load(make: Make) -> None:
    stages: list[tuple[str, float]] = []
    launch(make()).wait_ready(timeout=20.0, on_stage=lambda *stage: stages.append(stage), stop=lambda: None)
    assert stages == [("load", 0.5)]


def test_it_tells_why_a_model_could_not_be_loaded(make: Make) -> None:
    with pytest.raises(LoadFailed) as failed:
        ready(launch(make("fails-to-load")))
    assert (failed.value.stage, failed.value.message) == ("load", "The file has no tensors.")


def test_it_tells_how_a_runner_died_while_loading(make: Make) -> None:
    with pytest.raises(LoadFailed) as failed:
        ready(launch(make("dies-while-loading")))
    assert failed.value.stage == "load"
    assert "exited with code 7" in failed.value.message
    assert "something terrible happened" in failed.value.message


def test_it_gives_up_on_a_load_that_takes_too_long(make: Make) -> None:
    with pytest.raises(LoadFailed, match="not ready after 0.2 s") as failed:
        ready(launch(make("never-ready")), timeout=0.2)
    assert failed.value.code == "load_timeout"


def test_a_stage_that_hangs_ends_the_load_before_its_whole_time(make: Make) -> None:
    runner = launch(make("never-ready"))
    with pytest.raises(LoadFailed, match="did not end stage 'load' within 0.2 s") as failed:
        runner.wait_ready(
            timeout=600.0, on_stage=lambda *_: None, stop=lambda: None, stage_seconds={"load": 0.2, "warm_up": 0.1}
        )
    assert failed.value.code == "load_timeout"


def test_it_gives_up_on_a_load_when_told(make: Make) -> None:
    with pytest.raises(LoadFailed, match="The server is stopping"):
        ready(launch(make("never-ready")), stop="The server is stopping.")


def test_it_kills_what_ignores_sigterm(make: Make) -> None:
    supervisor = make("ignores-sigterm")
    runner = launch(supervisor)
    ready(runner)
    supervisor.stop(INSTANCE, grace=0.2)
    assert runner.popen.returncode == -signal.SIGKILL


def test_it_ends_the_children_of_a_runner_too(make: Make) -> None:
    supervisor = make("has-a-child")
    runner = launch(supervisor)
    ready(runner)
    child = int(Path(runner.spec.socket + ".child").read_text())
    supervisor.stop(INSTANCE, grace=5.0)
    until(lambda: not _runs(child), "the runner's child is gone")


def test_the_children_of_a_runner_that_crashes_end_with_it(make: Make, deaths: list[object]) -> None:
    runner = launch(make("has-a-child"))
    ready(runner)
    child = int(Path(runner.spec.socket + ".child").read_text())
    os.kill(runner.pid, signal.SIGSEGV)
    until(lambda: deaths, "the death was reported")
    until(lambda: not _runs(child), "the runner's child is gone")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_learns_of_a_runner_that_dies(make: Make, deaths: list[tuple[str, str, str]]) -> None:
    supervisor = make()
    runner = launch(supervisor)
    ready(runner)
    os.kill(runner.pid, signal.SIGKILL)
    until(lambda: deaths, "the death was reported")
    assert deaths[0][:2] == (INSTANCE, "was killed by SIGKILL")
    assert not Path(runner.spec.socket).exists()


def test_a_runner_ends_with_its_supervisors_process(tmp_path: Path) -> None:
    """`kill -9` of the server leaves no runner."""
    program = f"""
import os, sys, threading
from models_app.engines.spec import RunnerSpec
from models_app.engines.supervisor import Supervisor
from pathlib import Path
owner = Supervisor(command={fake_runner()!r}, folder=Path({str(tmp_path / "run")!r}), on_death=print)
owner.start()
spec = RunnerSpec({INSTANCE!r}, "m", "f", "/x", str(owner.socket_path({INSTANCE!r})), 64, 1, 64, 1, 0)
runner = owner.launch(spec)
runner.wait_ready(timeout=20, on_stage=lambda *_: None, stop=lambda: None)
print(runner.pid, flush=True)
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        runner = int(server.stdout.readline())
        server.kill()
    until(lambda: not _runs(runner), "the runner has gone with its server")


def test_it_stops_everything_within_one_grace(make: Make) -> None:
    supervisor = make("ignores-sigterm")
    runner = launch(supervisor)
    ready(runner)
    supervisor.close(grace=0.2)
    assert not psutil.pid_exists(runner.pid)
    assert not supervisor.folder.exists()
    with pytest.raises(Unavailable):
        launch(supervisor)


def test_it_says_when_a_runner_cannot_be_started(tmp_path: Path) -> None:
    supervisor = Supervisor(command=["/nonexistent/runner"], folder=tmp_path / "run", on_death=lambda *_: None)
    supervisor.start()
    try:
        with pytest.raises(LoadFailed, match="could not be started"):
            launch(supervisor)
    finally:
        supervisor.close(grace=0.0)


@pytest.mark.parametrize("kind", ["open", "link", "file", "others"])
def test_it_refuses_a_folder_that_another_user_could_have_prepared(tmp_path: Path, kind: str) -> None:
    """Its name below /tmp can be guessed."""
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "precious").touch()
    if kind == "link":
        folder.symlink_to(elsewhere)
    elif kind == "file":
        folder.touch(mode=0o600)
    else:
        folder.mkdir()
        folder.chmod(0o777 if kind == "open" else 0o700)
    if kind == "others":
        if os.geteuid() != 0:
            pytest.skip("only root can create the folder of another user")
        os.chown(folder, 65_534, 65_534)
    supervisor = Supervisor(command=fake_runner(), folder=folder, on_death=lambda *_: None)
    with pytest.raises((Conflict, FileExistsError)):
        supervisor.start()
    assert (elsewhere / "precious").exists()


def test_it_kills_only_the_stranger_that_it_means() -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        known = identity.of(other.pid)
        assert known is not None
        assert not process.kill_orphan(other.pid, known.replace(" ", " 1", 1), instance="an-instance")
        assert other.poll() is None
        assert process.kill_orphan(other.pid, known, instance="an-instance")
        assert other.wait(10) == -signal.SIGKILL


def test_many_threads_may_launch_at_once(make: Make) -> None:
    supervisor = make()
    runners: list[RunnerProcess] = []

    def one(number: int) -> None:
        instance = f"{number:08x}-0000-0000-0000-000000000000"
        spec = RunnerSpec(instance, "m", "f", "/x", str(supervisor.socket_path(instance)), 64, 1, 64, 1, 0)
        runners.append(supervisor.launch(spec))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ready(runner).pid for runner in runners}) == 6


@pytest.mark.parametrize("spare", range(6))
def test_f33_without_files_a_start_is_refused_and_works_again_later(
    make: Make, deaths: list[object], spare: int
) -> None:
    """Whichever file cannot be opened, nothing is left behind and the supervisor survives."""
    supervisor = make()
    ready(launch(supervisor))  # the thread itself needs no further files
    supervisor.stop(INSTANCE, grace=5.0)
    before = len(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest - before + 2)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1 + spare, limits[1]))
        with pytest.raises(Unavailable) as refused:
            launch(supervisor)
        assert "refuses this worker more files or processes" in refused.value.message
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)
    assert len(os.listdir("/proc/self/fd")) == before
    assert ready(launch(supervisor)).pid
    assert deaths == []

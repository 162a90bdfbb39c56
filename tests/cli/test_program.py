"""The program itself: its imports, what it starts, and that its fake server matches the real one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest

from models_app.api.serializers.instances import InstanceOutput, LoadedOutput
from models_app.api.serializers.jobs import JobErrorOutput, JobOutput, JobStepOutput
from models_app.api.serializers.models import ModelListOutput, ModelOutput, VersionOutput
from models_app.cli import main
from tests.cli import fake_noa
from tests.cli.conftest import COMMAND, environment
from tests.cli.fake_noa import FakeNoa
from tests.markdown import ROOT


def test_it_loads_neither_django_nor_what_is_slow() -> None:
    program = "import sys, models_app.cli.main; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"django", "celery", "rest_framework", "pydantic", "rich", "httpx2"})


def test_the_noa_script_leads_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["noa"] == f"{main.__name__}:{main.main.__name__}"


def test_serve_becomes_the_server_of_this_installation() -> None:
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "70000"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment("http://127.0.0.1:1") | {"NOA_PORT": "not a number"},
        check=False,
    )
    # The settings reject the port, and only the server's own program reads them.
    assert "NOA_PORT" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("given", "sorted_out"),
    [
        (["ls", "--json", "-q", "x"], ["--json", "ls", "-q", "x"]),
        (["ls", "--url", "u", "--key=k"], ["--url", "u", "--key=k", "ls"]),
        (["chat", "--", "--json"], ["chat", "--", "--json"]),
        (["ls", "--url"], ["--url", "ls"]),
    ],
)
def test_options_of_all_commands_move_before_the_command(given: list[str], sorted_out: list[str]) -> None:
    assert main.global_options_first(given) == sorted_out


@pytest.mark.parametrize(
    ("made", "serializer"),
    [
        (fake_noa.model("a:b"), ModelOutput),
        (fake_noa.model("a:b")["version"], VersionOutput),
        (fake_noa.instance("a:b"), InstanceOutput),
        (fake_noa.job("load"), JobOutput),
        (fake_noa.step("check"), JobStepOutput),
        (FakeNoa().loaded, LoadedOutput),
        (FakeNoa().page({"page": ["1"]}), ModelListOutput),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_fake_server_has_the_fields_of_the_real_one(made: dict[str, Any], serializer: type[Any]) -> None:
    assert set(made) == set(serializer().fields)


def test_the_errors_of_jobs_have_code_and_message() -> None:
    assert set(JobErrorOutput().fields) == {"code", "message"}

"""The paths that NOA opens as model files."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.errors import ModelFileError
from models_app.engines import gguf
from tests.fakes.broken_gguf import WHOLE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _code(path: Path, root: Path) -> str:
    with pytest.raises(ModelFileError) as refused:
        gguf.inspect(path, roots=[root])
    with pytest.raises(ModelFileError) as refused_again:
        gguf.check_place(path, roots=[root])
    assert refused.value.message == refused_again.value.message
    return refused.value.code


def test_it_reads_a_file_under_any_of_the_roots(tmp_path: Path, root: Path) -> None:
    (root / "m.gguf").write_bytes(WHOLE)
    gguf.check_place(root / "m.gguf", roots=[tmp_path / "other", root])
    assert gguf.inspect(root / "m.gguf", roots=[tmp_path / "other", root]).name == "whole"


def test_it_follows_a_link_that_stays_under_a_root(root: Path) -> None:
    (root / "blob").write_bytes(WHOLE)
    (root / "m.gguf").symlink_to("blob")
    assert gguf.inspect(root / "m.gguf", roots=[root]).name == "whole"


def test_a_root_may_itself_be_a_link(tmp_path: Path, root: Path) -> None:
    (root / "m.gguf").write_bytes(WHOLE)
    (tmp_path / "link").symlink_to(root)
    assert gguf.inspect(tmp_path / "link" / "m.gguf", roots=[tmp_path / "link"]).name == "whole"


@pytest.mark.parametrize("path", ["../outside.gguf", "link.gguf", "folder-link/outside.gguf"])
def test_it_refuses_what_leads_out_of_the_roots(tmp_path: Path, root: Path, path: str) -> None:
    (tmp_path / "outside.gguf").write_bytes(WHOLE)
    (root / "link.gguf").symlink_to(tmp_path / "outside.gguf")
    (root / "folder-link").symlink_to(tmp_path)
    assert _code(root / path, root) == "path_not_allowed"


def test_a_folder_with_the_roots_name_as_its_beginning_is_outside(tmp_path: Path, root: Path) -> None:
    neighbour = tmp_path / "models-of-others"
    neighbour.mkdir()
    (neighbour / "m.gguf").write_bytes(WHOLE)
    assert _code(neighbour / "m.gguf", root) == "path_not_allowed"


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/proc/self/environ", "/"])
def test_it_refuses_files_of_the_system(root: Path, path: str) -> None:
    assert _code(Path(path), root) == "path_not_allowed"


def test_with_no_roots_nothing_is_allowed(root: Path) -> None:
    (root / "m.gguf").write_bytes(WHOLE)
    with pytest.raises(ModelFileError):
        gguf.inspect(root / "m.gguf", roots=[])


def test_it_refuses_a_fifo_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "m.gguf")
    assert _code(root / "m.gguf", root) == "not_a_file"


def test_it_refuses_a_folder(root: Path) -> None:
    (root / "m.gguf").mkdir()
    assert _code(root / "m.gguf", root) == "not_a_file"


def test_it_refuses_a_socket(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # the path of a socket is limited to 107 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("m.gguf")
        assert _code(root / "m.gguf", root) == "file_unreadable"


def test_it_refuses_a_device_under_a_root() -> None:
    assert _code(Path("/dev/zero"), Path("/dev")) == "not_a_file"


def test_it_says_that_there_is_no_such_file(root: Path) -> None:
    assert _code(root / "missing.gguf", root) == "file_not_found"


def test_it_refuses_a_link_that_leads_to_itself(root: Path) -> None:
    (root / "m.gguf").symlink_to("m.gguf")
    assert _code(root / "m.gguf", root) == "file_unreadable"


@pytest.mark.parametrize("name", ["a\0b.gguf", "x" * 300 + ".gguf", "\udcff\x1b[31m.gguf"])
def test_it_refuses_names_that_cannot_be_files(root: Path, name: str) -> None:
    with pytest.raises(ModelFileError) as refused:
        gguf.inspect(root / name, roots=[root])
    assert refused.value.message.isprintable()


def test_the_child_that_reads_gets_no_secrets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_SECRET_KEY", "canary")
    (root / "m.gguf").write_bytes(WHOLE)
    seen: list[dict[str, str]] = []
    run = subprocess.run

    def spy(*arguments: Any, **options: Any) -> object:
        seen.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    gguf.inspect(root / "m.gguf", roots=[root])
    assert seen
    assert set(seen[0]) == {"PYTHONPATH", "PYTHONUTF8"}

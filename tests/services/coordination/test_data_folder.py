"""The data folder is private after a start, or the server does not start."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.errors import Conflict
from models_app.services.coordination import data_folder

_OTHER_USER = 65_534
_MODES = (0o777, 0o755, 0o750, 0o711, 0o704, 0o770, 0o2775, 0o1777)
_FILE_MODES = (0o644, 0o640, 0o604, 0o666, 0o622, 0o664, 0o755, 0o660)
_NAMES = ("noa.sqlite3", "noa.sqlite3-wal", "noa.sqlite3-shm", "secret_key", "encryption_key", "spool/web.1", "x/y/z")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can create the files of another user")


@pytest.fixture
def folder(settings: Any) -> Iterator[Path]:
    # Not pytest's folder: another user cannot enter that.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        made = Path(parent) / "data"
        made.mkdir()
        settings.NOA_DATA_DIR, settings.NOA_MODELS_DIR = made, made / "models"
        yield made


def fill(folder: Path, mode: int) -> list[Path]:
    paths = [folder / name for name in _NAMES]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
        path.chmod(mode)
    for found, _, _ in os.walk(folder):
        if found != str(folder):
            os.chmod(found, 0o755)
    return paths


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("file_mode", _FILE_MODES, ids=oct)
@pytest.mark.parametrize("folder_mode", _MODES, ids=oct)
def test_what_others_could_reach_is_closed(folder: Path, folder_mode: int, file_mode: int) -> None:
    paths = fill(folder, file_mode)
    folder.chmod(folder_mode)
    data_folder.secure(folder)
    assert mode(folder) & 0o777 == 0o700
    for path in [*paths, folder / "spool", folder / "x", folder / "x" / "y"]:
        assert not mode(path) & 0o077
        assert mode(path) & 0o600 == 0o600
    assert list(data_folder.exposed(folder)) == []


def test_model_files_and_the_targets_of_links_keep_their_modes(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (folder / "link").symlink_to(outside)
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    (folder / "models").mkdir()
    model = folder / "models" / "m.gguf"
    model.write_text("x")
    model.chmod(0o644)
    data_folder.secure(folder)
    assert (mode(outside), mode(model)) == (0o644, 0o644)


_AS_OTHER_USER = """
import json, os, sys
from pathlib import Path
from django.conf import settings
folder = Path(sys.argv[1])
settings.configure(NOA_MODELS_DIR=folder / "models")
from models_app.domain.errors import Conflict
from models_app.services.coordination import data_folder
os.setgroups([])
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
try:
    data_folder.secure(folder)
    print(json.dumps("started"))
except Conflict as error:
    print(json.dumps([error.code, error.message]))
"""


def secure_as(folder: Path, group: int, user: int = _OTHER_USER) -> Any:
    command = [sys.executable, "-c", _AS_OTHER_USER, str(folder), str(group), str(user)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@needs_root
@pytest.mark.parametrize("file_mode", [0o644, 0o604, 0o666], ids=oct)
def test_a_secret_of_another_user_that_others_read_prevents_the_start(folder: Path, file_mode: int) -> None:
    secret = folder / "secret_key"
    secret.write_text("x")
    secret.chmod(file_mode)
    folder.chmod(0o755)
    code, message = secure_as(folder, _OTHER_USER)
    assert code == "data_dir_not_private"
    assert str(secret) in message
    assert "chown" in message


@needs_root
@pytest.mark.parametrize("folder_mode", [0o777, 0o757, 0o773], ids=oct)
def test_a_folder_in_which_strangers_can_replace_files_prevents_the_start(folder: Path, folder_mode: int) -> None:
    folder.chmod(folder_mode)
    code, message = secure_as(folder, _OTHER_USER)
    assert code == "data_dir_not_private"
    assert "subfolder" in message


@needs_root
@pytest.mark.parametrize(
    ("folder_mode", "file_mode"),
    [(0o2777, 0o660), (0o2775, 0o660), (0o770, 0o660), (0o2770, 0o440), (0o2775, 0o600)],
    ids=lambda value: oct(value),
)
def test_a_volume_given_to_a_group_of_this_process_starts(folder: Path, folder_mode: int, file_mode: int) -> None:
    """As Kubernetes does with `fsGroup`: the folder stays root's, files of before get the group's bits."""
    group = 10_001
    own, mounted, lost = folder / "noa.sqlite3", folder / "mounted", folder / "lost+found"
    lost.mkdir(mode=0o700)
    for path in (own, mounted):
        path.write_text("x")
        path.chmod(file_mode)
        os.chown(path, 0, group)
    os.chown(own, _OTHER_USER, group)
    os.chown(folder, 0, group)
    folder.chmod(folder_mode)
    assert secure_as(folder, group) == "started"
    assert not mode(own) & 0o077


@needs_root
def test_a_folder_that_is_a_sticky_one_starts(folder: Path) -> None:
    folder.chmod(0o1777)
    assert secure_as(folder, _OTHER_USER) == "started"


def test_a_file_system_without_modes_prevents_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some accept a chmod without an effect."""
    (folder / "secret_key").write_text("x")
    (folder / "secret_key").chmod(0o644)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with pytest.raises(Conflict) as refused:
        data_folder.secure(folder)
    assert refused.value.code == "data_dir_not_private"

"""Finding model files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models_app.engines import folder
from models_app.engines.folder import find_files


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" + os.fsencode(path))
    return path


def _reasons(root: Path) -> dict[str, str]:
    return {path.name: reason for path, reason in find_files(root).skipped}


def test_it_finds_models_in_folders_in_a_stable_order(tmp_path: Path) -> None:
    expected = [_touch(tmp_path / name) for name in ("a/b/m.gguf", "m.gguf", "z.GGUF")]
    _touch(tmp_path / "readme.md")
    found = find_files(tmp_path)
    assert found.files == expected
    assert found.skipped == []


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    found = find_files(tmp_path / "none")
    assert found.files == []
    assert "cannot be read" in found.skipped[0][1]


def test_of_a_model_in_parts_only_the_first_counts(tmp_path: Path) -> None:
    first = _touch(tmp_path / "m-00001-of-00002.gguf")
    _touch(tmp_path / "m-00002-of-00002.gguf")
    assert find_files(tmp_path).files == [first]
    assert "further part" in _reasons(tmp_path)["m-00002-of-00002.gguf"]


def test_projectors_are_no_models(tmp_path: Path) -> None:
    projector = _touch(tmp_path / "mmproj-model-f16.gguf")
    found = find_files(tmp_path)
    assert found.files == []
    assert found.projectors == [projector]
    assert "projector" in found.skipped[0][1]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    _touch(tmp_path / "a" / "m.gguf")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(find_files(tmp_path).files) == 1


def test_a_link_to_a_file_counts_once_with_it(tmp_path: Path) -> None:
    model = _touch(tmp_path / "blobs" / "0123.gguf")
    (tmp_path / "m.gguf").symlink_to(model)
    found = find_files(tmp_path)
    assert found.files == [model]
    assert "same file" in _reasons(tmp_path)["m.gguf"]


def test_broken_links_and_fifos_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.gguf")
    assert "cannot be read" in _reasons(tmp_path)["broken.gguf"]
    assert "not a regular file" in _reasons(tmp_path)["fifo.gguf"]


def test_names_that_are_not_utf8_are_reported_printably(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf")).touch()
    _touch(tmp_path / "line\nbreak.gguf")
    found = find_files(tmp_path)
    assert found.files == []
    assert len(found.skipped) == 2
    for path, reason in found.skipped:
        assert str(path).encode()
        assert "Rename it" in reason


def test_it_goes_six_levels_deep(tmp_path: Path) -> None:
    deepest = _touch(tmp_path.joinpath(*"123456") / "m.gguf")
    _touch(tmp_path.joinpath(*"1234567") / "deeper.gguf")
    assert find_files(tmp_path).files == [deepest]
    assert "levels deep" in _reasons(tmp_path)["7"]


def test_it_stops_at_the_bound_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_FILES", 3)
    for number in range(5):
        _touch(tmp_path / f"{number}.gguf")
    found = find_files(tmp_path)
    assert len(found.files) == 3
    assert "too many files" in found.skipped[0][1]


def test_it_stops_at_the_bound_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_ENTRIES", 3)
    for number in range(5):
        _touch(tmp_path / f"{number}" / "readme")
    _touch(tmp_path / "9.gguf")
    assert find_files(tmp_path).files == []
    assert "too many files" in _reasons(tmp_path)[tmp_path.name]

"""Settings that come from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from noa_site import config


def test_any_setting_may_be_the_content_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgresql://noa:secret@db/noa\n")
    (tmp_path / "hosts").write_text("a.example, b.example\n")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("NOA_ALLOWED_HOSTS_FILE", str(tmp_path / "hosts"))
    read = config.read()
    assert read.database_url is not None
    assert read.database_url.get_secret_value() == "postgresql://noa:secret@db/noa"
    assert read.allowed_hosts == ["a.example", "b.example"]
    assert "secret@" not in repr(read)


def test_a_file_that_cannot_be_read_stops_the_start_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_SECRET_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="NOA_SECRET_KEY_FILE: .* cannot be read: No such file"):
        config.read()


def test_a_value_and_a_file_for_it_are_a_contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "port").write_text("9000")
    monkeypatch.setenv("NOA_PORT", "8000")
    monkeypatch.setenv("NOA_PORT_FILE", str(tmp_path / "port"))
    with pytest.raises(SystemExit, match="NOA_PORT and NOA_PORT_FILE are both set"):
        config.read()


def test_a_wrong_value_in_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "port").write_text("high")
    monkeypatch.setenv("NOA_PORT_FILE", str(tmp_path / "port"))
    with pytest.raises(SystemExit, match="NOA_PORT"):
        config.read()

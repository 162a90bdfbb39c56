"""The commands of "Back up and restore" in docs/operations.md, executed; servers start on what they restore."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.openai_server import FakeOpenAI
from tests.journeys.server import NoaServer
from tests.markdown import ROOT
from tests.servers.postgres import PostgresServer, binaries

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = [
    line.strip()
    for line in PAGE.partition("## Back up and restore")[2].partition("\n## ")[0].splitlines()
    if line.startswith("    ")
]
MAKE, SQLITE, KEYS, DUMP, RESTORE = COMMANDS
NO_MODELS = {"NOA_DEMO_MODELS": "false"}


def test_a_copy_of_a_running_server_on_sqlite_starts_with_its_keys_and_secrets(
    tmp_path: Path, fake_openai: FakeOpenAI
) -> None:
    first = NoaServer(tmp_path / "var", NO_MODELS).start()
    try:
        add_provider(first, fake_openai)
        for command in (MAKE, SQLITE, KEYS):
            run(tmp_path, command)
    finally:
        first.stop()
    restored = NoaServer(tmp_path / "backup", NO_MODELS, api_key=first.api_key).start()
    try:
        assert_it_is_all_there(restored)
        assert first.password not in restored.text
    finally:
        restored.stop()


def test_a_dump_of_postgresql_restores_into_an_empty_database(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    postgres = PostgresServer().start()
    try:
        before = NO_MODELS | {"DATABASE_URL": postgres.create("before")}
        first = NoaServer(tmp_path / "var", before).start()
        try:
            add_provider(first, fake_openai)
            run(tmp_path, MAKE, before)
            run(tmp_path, DUMP, before)
            run(tmp_path, KEYS)
        finally:
            first.stop()
        after = NO_MODELS | {"DATABASE_URL": postgres.create("after")}
        run(tmp_path, RESTORE, after)
        restored = NoaServer(tmp_path / "backup", after, api_key=first.api_key).start()
        try:
            assert_it_is_all_there(restored)
        finally:
            restored.stop()
    finally:
        postgres.stop()


def test_without_the_encryption_key_the_server_says_what_is_missing(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    first = NoaServer(tmp_path / "var", NO_MODELS).start()
    try:
        add_provider(first, fake_openai)
        for command in (MAKE, SQLITE):
            run(tmp_path, command)
    finally:
        first.stop()
    restored = NoaServer(tmp_path / "backup", NO_MODELS, api_key=first.api_key).start()
    try:
        status, answer = restored.api("POST", "/api/v1/providers/copied/test")
        assert "NOA_ENCRYPTION_KEYS" in str(answer) or "encryption key" in str(answer), (status, answer)
    finally:
        restored.stop()


def add_provider(server: NoaServer, openai: FakeOpenAI) -> None:
    provider = {"slug": "copied", "kind": "openai", "base_url": openai.base_url, "api_key": openai.key}
    status, answer = server.api("POST", "/api/v1/providers", provider | {"allow_private_addresses": True})
    assert status == 201, answer


def assert_it_is_all_there(server: NoaServer) -> None:
    """The old API key is valid, and the provider accepts the secret that was decrypted."""
    status, answer = server.api("POST", "/api/v1/providers/copied/test")
    assert status == 200, answer
    assert answer["ok"] is True, answer


def run(folder: Path, command: str, environment: dict[str, str] | None = None) -> None:
    """Runs it in `folder`, where `.venv` is this Python's."""

    if not (folder / ".venv").exists():
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    path = f"{binaries()}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=os.environ | {"PATH": path} | (environment or {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

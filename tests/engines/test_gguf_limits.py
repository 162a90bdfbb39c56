"""The scan child is bounded in time and memory, and detects concurrent changes of the file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models_app.domain.errors import ModelFileError
from models_app.engines import gguf, gguf_header, scan
from tests.fakes.broken_gguf import ARRAY, STRING, WHOLE, File, Tensor, array, text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(WHOLE)
    return path


def _child_that(code: str) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """A `subprocess.run` that runs `code` in place of the scan program."""
    real = subprocess.run

    def run(_command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        return real([sys.executable, "-S", "-c", code], **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gguf, "_HEADER_SECONDS", 0.05)
    monkeypatch.setattr(gguf, "_GRACE_SECONDS", 0.2)
    yield


def _refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as refused:
        gguf.inspect(path, roots=[path.parent])
    return refused.value.message


@pytest.mark.usefixtures("impatient")
def test_a_child_that_hangs_is_ended(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _child_that("import time; time.sleep(600)"))
    assert "took too long" in _refusal(model)


def test_a_child_that_uses_up_its_processor_time_is_reported(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    monkeypatch.setattr(subprocess, "run", _child_that(code))
    assert "took too long" in _refusal(model)


def test_a_child_that_dies_is_reported(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _child_that("import os; os.abort()"))
    assert "its reader ended with -6" in _refusal(model)


def test_the_child_ends_itself_when_the_header_takes_too_long(model: Path) -> None:
    with model.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "models_app.engines.scan", str(file.fileno()), "0.000001", "0"],
            pass_fds=(file.fileno(),),
            capture_output=True,
            check=False,
        )
    assert done.returncode == -14
    assert done.stdout == b""


def test_the_child_bounds_its_memory(model: Path) -> None:
    code = (
        "from models_app.engines import scan\nscan._limit(5)\n"
        "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('bounded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"bounded\n"


def test_a_large_vocabulary_fits_the_bounds(tmp_path: Path) -> None:
    tokens = array(STRING, [text(f"token-{number}") for number in range(300_000)])
    file = File(tensors=[Tensor("output_norm.weight", (8,))]).set("tokenizer.ggml.tokens", ARRAY, tokens)
    file.without("tokenizer.ggml.scores").without("tokenizer.ggml.token_type")
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(file))
    assert gguf.inspect(path, roots=[tmp_path]).vocab_size == 300_000


def test_a_header_longer_than_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_header, "MAX_HEADER_BYTES", 300)
    with pytest.raises(gguf_header.HeaderError, match="longer than"):
        gguf_header.read_header(io.BytesIO(WHOLE), len(WHOLE))


def test_a_file_that_grows_while_it_is_read_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread

    def grow(descriptor: int, count: int, position: int) -> bytes:
        data = real(descriptor, count, position)
        if data:
            with model.open("ab") as file:
                file.write(b"more") if position == 0 else None
        return data

    monkeypatch.setattr(os, "pread", grow)
    with model.open("rb") as file, pytest.raises(gguf_header.HeaderError, match="changed"):
        scan._digest(file.fileno())

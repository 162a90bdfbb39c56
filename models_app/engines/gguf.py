"""Reads a GGUF file's metadata before llama.cpp loads it.

The file is opened and validated here, and read by a child process (`scan.py`) with bounded memory and time, so that no
file can hang, fill or crash the calling process. Blocking; safe on any thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models_app.domain.catalog.gguf import GgufMetadata, RawHeader, check_whole, judge
from models_app.domain.errors import ModelFileError
from models_app.engines.folder import SPLIT_NAME, FolderListing, find_files

__all__ = ["FolderListing", "check_place", "find_files", "inspect"]

# A header takes 0.03 to 0.5 s; on a busy disk some seconds.
_HEADER_SECONDS = 15.0
# A slow network disk. The digest's time limit grows with the file at this rate.
_SLOWEST_BYTES_PER_SECOND = 20 * 1024 * 1024
# The child enforces its own limits; the parent's is for a child that cannot.
_GRACE_SECONDS = 5.0
_TOO_LONG = "Reading the file took too long. Its disk is too slow, or its header is damaged."
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def inspect(path: Path, *, roots: Sequence[Path], digest: bool = True) -> GgufMetadata:
    """Reads the header and, with `digest`, the SHA-256 of the whole file (else `sha256` is empty).

    Of a model in several parts `path` is the first, and the others must lie beside it. Raises ModelFileError with
    the code `path_not_allowed`, `file_not_found`, `file_unreadable`, `not_a_file` or `model_file_invalid`.
    """
    scan = _scan(path, roots, digest=digest)
    metadata = judge(scan.header, size_bytes=scan.size_bytes, sha256=scan.sha256)
    parts = [_scan(part, roots, digest=False) for part in _other_parts(path, metadata.parts)]
    whole = dataclasses.replace(
        metadata,
        total_bytes=sum((part.size_bytes for part in parts), start=metadata.size_bytes),
        parameter_count=sum((part.header.parameter_count for part in parts), start=metadata.parameter_count),
    )
    # The first of several parts can have none of the weights.
    check_whole(whole)
    return whole


def check_place(path: Path, *, roots: Sequence[Path]) -> None:
    """Raises ModelFileError unless `path` is a readable regular file under one of `roots`; reads nothing of it."""
    with _opened(path, roots):
        pass


@dataclasses.dataclass(frozen=True, slots=True)
class _Scan:
    header: RawHeader
    size_bytes: int
    sha256: str


def _scan(path: Path, roots: Sequence[Path], *, digest: bool) -> _Scan:
    with _opened(path, roots) as descriptor:
        size = os.fstat(descriptor).st_size
        seconds = _HEADER_SECONDS + size / _SLOWEST_BYTES_PER_SECOND if digest else 0.0
        answer = _run_child(descriptor, _HEADER_SECONDS, seconds)
    header = answer["header"]
    shape = header["embedding_shape"]
    raw = RawHeader(**{**header, "embedding_shape": None if shape is None else tuple(shape)})
    return _Scan(raw, size, answer["sha256"])


def _other_parts(path: Path, count: int) -> Iterator[Path]:
    if count == 1:
        return
    named = SPLIT_NAME.search(path.name)
    if named is None or int(named["number"]) != 1 or int(named["count"]) != count:
        raise ModelFileError(
            f"The model is in {count} parts, and '{path.name}' is not the first of them by its name. "
            f"The first part's name ends with '-00001-of-{count:05}.gguf'."
        )
    for number in range(2, count + 1):
        part = path.with_name(f"{path.name[: named.start()]}-{number:05}-of-{count:05}.gguf")
        if not part.exists():
            raise ModelFileError(f"The model is in {count} parts, and '{part.name}' is missing.")
        yield part


@contextmanager
def _opened(path: Path, roots: Sequence[Path]) -> Iterator[int]:
    """The file's descriptor, opened without blocking and then validated, so that the file cannot be swapped."""
    shown = ascii(str(path)[-200:])
    try:
        real = os.path.realpath(path)
        _require_under(real, roots, shown)
        # O_NONBLOCK: opening a FIFO for reading would wait for a writer for ever.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ModelFileError(f"The file {shown} does not exist.", code="file_not_found") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"The file {shown} cannot be opened: {_reason(error)}.", code="file_unreadable") from error
    try:
        _require_under(os.readlink(f"/proc/self/fd/{descriptor}"), roots, shown)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{shown} is not a regular file.", code="not_a_file")
        if status.st_size == 0:
            raise ModelFileError(f"The file {shown} is empty.")
        yield descriptor
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "its name is not a path"


def _require_under(real: str, roots: Sequence[Path], shown: str) -> None:
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots):
        raise ModelFileError(
            f"{shown} is not in a model folder. Move it there, or add its folder to the model folders.",
            code="path_not_allowed",
        )


def _run_child(descriptor: int, header_seconds: float, digest_seconds: float) -> dict[str, Any]:
    """The child's result for an open file. Raises ModelFileError when it rejects the file, dies or times out."""
    command = [sys.executable, "-S", "-s", "-P", "-m", "models_app.engines.scan"]
    seconds = header_seconds + digest_seconds
    try:
        done = subprocess.run(
            [*command, str(descriptor), str(header_seconds), str(digest_seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            # Nothing of the server's environment: it contains secrets.
            env={"PYTHONPATH": str(_PACKAGE_ROOT), "PYTHONUTF8": "1"},
            timeout=seconds + _GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(_TOO_LONG) from error
    if done.returncode in (-signal.SIGALRM, -signal.SIGXCPU):
        raise ModelFileError(_TOO_LONG)
    if done.returncode != 0:
        raise ModelFileError(f"The file could not be read: its reader ended with {done.returncode}.")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise ModelFileError(answer["error"])
    return answer

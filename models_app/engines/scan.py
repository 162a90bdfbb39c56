"""The child program that reads one GGUF file: `python -m models_app.engines.scan FD HEADER_SECONDS DIGEST_SECONDS`.

FD is an inherited, opened file. The seconds bound the wall and the processor time of the two steps; with 0 for the
second there is no digest. It prints one JSON object: `{"header": {…}, "sha256": "…"}` or `{"error": "a sentence"}`.
It imports only the standard library, the header reader and its confinement, so that a scan costs little more than
starting Python.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import signal
import struct
import sys
from typing import Any

from models_app.engines import gguf_header
from models_app.engines.confinement import confining
from models_app.engines.confinement.confining import Mode

# Python takes 30 MB of address space here; the largest vocabularies in use add 60.
_ADDRESS_SPACE = 512 * 1024 * 1024
_CHUNK = 1 << 20


def _limit(processor_seconds: float) -> None:
    """Kernel limits, which end this process when exceeded."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    processor = math.ceil(processor_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _header(descriptor: int) -> dict[str, Any]:
    with open(descriptor, "rb", buffering=_CHUNK, closefd=False) as file:
        file.seek(0)
        header = gguf_header.read_header(file, os.fstat(descriptor).st_size)
    return vars(header)


def _digest(descriptor: int) -> str:
    before = os.fstat(descriptor)
    digest = hashlib.sha256()
    position = 0
    while chunk := os.pread(descriptor, _CHUNK, position):
        digest.update(chunk)
        position += len(chunk)
    after = os.fstat(descriptor)
    if position != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise gguf_header.HeaderError("The file changed while it was read. Wait until it is complete.")
    return digest.hexdigest()


def _read(descriptor: int, header_seconds: float, digest_seconds: float) -> dict[str, Any]:
    """Each step under SIGALRM with its default action, termination."""
    signal.setitimer(signal.ITIMER_REAL, header_seconds)
    header = _header(descriptor)
    signal.setitimer(signal.ITIMER_REAL, digest_seconds)
    return {"header": header, "sha256": _digest(descriptor) if digest_seconds else ""}


def main(descriptor: int, header_seconds: float, digest_seconds: float) -> None:
    _limit(header_seconds + digest_seconds)
    # Best effort: the file is open already, and nothing else is needed.
    confining.confine_reader(Mode.AUTO, imports=False)
    try:
        answer = _read(descriptor, header_seconds, digest_seconds)
    except gguf_header.HeaderError as error:
        answer = {"error": str(error)}
    except struct.error:
        answer = {"error": "The file became shorter while it was read."}
    except MemoryError:
        answer = {"error": "The header needs more memory than any real model's."}
    except OSError as error:
        answer = {"error": f"The file could not be read: {error.strerror}."}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))

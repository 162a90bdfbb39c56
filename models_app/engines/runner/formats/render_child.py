"""The program that renders a runner's chat templates: `python -m models_app.engines.runner.formats.render_child MODE`.

Each of its processes has one template. The kernel ends a process that computes for too long, also inside a function
written in C, and refuses memory beyond a limit; the runner sees the end of the channel. A message is a little-endian
u32 length and a body. The runner's messages begin with two f64, the seconds of wall time and of processor time; the
first goes on with `{"source": …, "with_tools": …, "bos": …, "eos": …, "nice": 0}`, the others with `{"messages": …,
"tools": …, "options": …}`. Each answer is a byte, `T` or `E`, and a text: for the first message the template's manner
as JSON, then the prompts; or the reason of an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from models_app.engines.confinement import confining
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs
from models_app.engines.runner.formats.template import ChatTemplate, TemplateError

# Beyond the program's own memory. Real templates take some MB.
_HEADROOM = 512 * 1024 * 1024
# A prompt: longer than any context, and than every request.
_MAX_TEXT = 64 * 1024 * 1024
_MAX_REASON = 500

Stream = io.BufferedRWPair


def main(mode: Mode) -> None:
    # Reads the time zone, which `strftime_now` uses, while files can be opened.
    time.localtime()
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + _HEADROOM
    confining.confine_reader(mode, imports=True)
    programs.serve(partial(_serve, limit, mode))


def _serve(limit: int, mode: Mode, channel: socket.socket) -> None:
    if mode is not Mode.OFF:
        confining.forbid_processes()
    _bound_memory(limit)
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    with channel.makefile("rwb") as stream:
        wall, processor, first = _message(_read(stream))
        os.nice(first.pop("nice"))
        templates: list[ChatTemplate] = []

        def compile_template() -> str:
            templates.append(ChatTemplate(**first))
            return json.dumps(asdict(templates[0].manner))

        _answer(channel, stream, compile_template, wall, processor)
        while body := _read(stream):
            wall, processor, data = _message(body)

            def render(data: dict[str, Any] = data) -> str:
                return templates[0].render(data["messages"], tools=data["tools"], options=data["options"])

            _answer(channel, stream, render, wall, processor)


def _answer(channel: socket.socket, stream: Stream, work: Callable[[], str], wall: float, processor: float) -> None:
    """The process ends after an error of memory: what it still holds would count against the next rendering."""
    exhausted = False
    _alarm(wall, processor)
    _end_with_channel(channel)
    try:
        kind, text = b"T", work()
        if len(text) > _MAX_TEXT:
            kind, text = b"E", f"its text is longer than {_MAX_TEXT >> 20} MiB"
        data = text.encode("utf-8", "surrogatepass")
    except TemplateError as error:
        kind, data = b"E", str(error)[:_MAX_REASON].encode("utf-8", "surrogatepass")
    except MemoryError:
        exhausted = True
        kind, data = b"E", f"it needs more than {_HEADROOM >> 20} MiB".encode()
    _stay(channel)
    _alarm(0.0, 0.0)
    stream.write(struct.pack("<I", 1 + len(data)) + kind + data)
    stream.flush()
    if exhausted:
        os._exit(0)


def _end_with_channel(channel: socket.socket) -> None:
    """While a rendering computes, the runner sends nothing: all that happens on the channel is its end, because the
    client has left. The kernel then ends this process by SIGIO; else clients that leave could start more and more."""
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)
    with contextlib.suppress(BlockingIOError):
        if channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
            os._exit(0)


def _stay(channel: socket.socket) -> None:
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) & ~os.O_ASYNC)


def _alarm(wall: float, processor: float) -> None:
    """The default action of both signals ends the process. 0 switches them off."""
    signal.setitimer(signal.ITIMER_REAL, wall)
    signal.setitimer(signal.ITIMER_PROF, processor)


def _read(stream: Stream) -> bytes:
    """The body of one message; empty at the end."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "little")) if len(head) == 4 else b""


def _message(body: bytes) -> tuple[float, float, dict[str, Any]]:
    """The limits of wall and processor time, and the data."""
    wall, processor = struct.unpack_from("<dd", body)
    return wall, processor, json.loads(body[16:])


def _bound_memory(limit: int) -> None:
    """Bytes of address space."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, lowest))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(Mode(sys.argv[1]))

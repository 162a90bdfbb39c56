"""A program that runs another one for as long as its own standard input is open.

The process that starts a server for tests owns the other end: however it ends, `kill -9` included, the server ends too
and its folder is removed. `python lifeline.py FOLDER SIGNAL USER GROUP COMMAND…` (-1: the current user) prints the
server's process id and then its exit code.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

# The grace period before a server is killed. Its data is temporary.
_STOP_SECONDS = 5.0


def main() -> None:
    folder, number, user, group, *command = sys.argv[1:]
    identity: dict[str, Any] = {"user": int(user), "group": int(group), "extra_groups": []} if int(user) >= 0 else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, **identity)
    _report(server.pid)
    closed = threading.Thread(target=_stop_at_end_of_input, args=(server, int(number)), daemon=True)
    closed.start()
    server.wait()
    _report(server.returncode)
    # The owner can restart it on the same folder, which is removed when the owner exits.
    closed.join()
    shutil.rmtree(folder, ignore_errors=True)


def _stop_at_end_of_input(server: subprocess.Popen[bytes], number: int) -> None:
    keeps_folder = sys.stdin.read() == "keep"
    if server.poll() is None:
        # A server stopped with SIGSTOP handles no other signal.
        server.send_signal(signal.SIGCONT)
        server.send_signal(number)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if keeps_folder:
        os._exit(0)


def _report(number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    main()

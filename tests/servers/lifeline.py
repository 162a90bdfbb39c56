"""A program that keeps another one for as long as its own standard input is open.

Whoever starts a server for tests holds the other end: however it ends, `kill -9` included, the server ends too and
its folder goes. `python lifeline.py FOLDER SIGNAL USER GROUP COMMAND…` (-1: as who it is) prints the server's process id and then its exit code.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

# What a server that was told to stop gets before it is killed. It holds nothing that anybody wants to keep.
_STOP_SECONDS = 5.0


def main() -> None:
    folder, number, user, group, *command = sys.argv[1:]
    identity = {"user": int(user), "group": int(group), "extra_groups": []} if int(user) >= 0 else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, **identity)
    _say(server.pid)
    closed = threading.Thread(target=_stop_at_end_of_input, args=(server, int(number)), daemon=True)
    closed.start()
    server.wait()
    _say(server.returncode)
    # The owner may want to start it again on the same folder; what it left goes when the owner does.
    closed.join()
    shutil.rmtree(folder, ignore_errors=True)


def _stop_at_end_of_input(server: subprocess.Popen[bytes], number: int) -> None:
    keeps_folder = sys.stdin.read() == "keep"
    if server.poll() is None:
        # A server that a test has stopped with SIGSTOP sees no other signal.
        server.send_signal(signal.SIGCONT)
        server.send_signal(number)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if keeps_folder:
        os._exit(0)


def _say(number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    main()

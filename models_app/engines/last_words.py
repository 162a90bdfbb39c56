"""The end of a runner's log, as clients may see it: what failed, without the process's insides."""

from __future__ import annotations

import os
import re
from pathlib import Path

# The part of a log that a failure quotes.
_LINES = 20
_BYTES = 65_536
# What debuggers, glibc, Python's faulthandler and sanitizers print about a crashed process: frames, addresses,
# threads, registers. They can hold prompts and say nothing to a client.
_INSIDES = re.compile(
    r"""^\s*(
        \#\d+\s                                  # a frame of gdb, lldb or a sanitizer
      | frame\ \#\d+: | \*\ thread\ \#
      | \S*\(\S*\+0x[0-9a-f]+\)\s*\[0x[0-9a-f]+\]  # a frame of backtrace_symbols
      | \[?(New\ LWP|Thread\ 0x|Inferior\ 1|Attaching\ to|Detaching)
      | (Thread|Current\ thread)\ 0x[0-9a-f]+
      | File\ "[^"]*",\ line\ \d+                # a frame of Python
      | Using\ host\ libthread_db | Downloading\ separate\ debug | This\ GDB\ supports | Enable\ debuginfod
      | warning:\ .*(\.so|debug|gdb|address|a\ zombie) | \[Thread\ debugging
      | ptrace: | No\ stack\. | The\ program\ is\ not\ being\ run | \d+\s+\S+\.c(c|pp)?:\ No\ such\ file
      | See:\ https?:// | To\ make\ this\ setting
      | 0x[0-9a-f]{6,}\b | [0-9a-f]{6,}-[0-9a-f]{6,}\ [r-][w-][x-]
      | (Traceback|Stack\ trace|Backtrace|Fatal\ Python\ error:\ .*\ thread)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


# llama.cpp names the place of a failed assertion by the folder in which it was compiled.
_BUILD_FOLDER = re.compile(r"/\S*/(?=llama\.cpp/)")


def of(log: Path) -> str:
    """The last lines of a log. An error text when it cannot be read: the supervisor's thread calls this, and all
    runners end with that thread."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"(the log could not be read: {error})"
    kept = [line for line in lines if line.strip() and not _INSIDES.match(line)][-_LINES:]
    return "\n".join(_BUILD_FOLDER.sub("", line) for line in kept)

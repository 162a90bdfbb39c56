"""The confinement of each kind of process, and what of it this kernel has.

A runner reads its model, Python and libraries; it writes no file, opens no connection, starts only Python, and cannot
see other processes. Programs that render templates, compile grammars or read headers can do less.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from models_app.engines.confinement import landlock, privileges, seccomp
from models_app.engines.confinement.landlock import Rule

_PACKAGE = Path(__file__).resolve().parents[2]
# Libraries and tables of the system, none of them a secret.
_SYSTEM = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/cuda",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    # Landlock keeps the memory, environment and files of other processes hidden.
    "/proc",
    "/sys/devices",
    "/sys/fs/cgroup",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_GPU_SYSTEM = (
    "/sys",
    "/usr/share/nvidia",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/usr/share/vulkan",
    "/etc/nvidia",
    "/opt/rocm",
)
_GPU_DEVICES = ("/dev/nvidia-caps", "/dev/nvidia-uvm", "/dev/nvidiactl", "/dev/dri", "/dev/kfd", "/dev/shm")
# Where the loader of programs is.
_LOADERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


class Mode(StrEnum):
    """AUTO uses what the kernel has, REQUIRE fails without any part, OFF uses nothing."""

    AUTO = "auto"
    REQUIRE = "require"
    OFF = "off"


class NotConfined(Exception):
    """The kernel lacks a part of the confinement; the text names the parts."""


def confine_runner(model: Path, *, gpu: bool, mode: Mode) -> list[str]:
    """Confine this process, which has one thread, to serve one model; returns the parts that the kernel lacks.

    Raises NotConfined in the mode REQUIRE.
    """
    rules = [*_python(), *_files(model)]
    if gpu:
        rules += [Rule(Path(path), landlock.READ) for path in _GPU_SYSTEM]
        rules += [Rule(path, landlock.USE_DEVICE) for path in [*map(Path, _GPU_DEVICES), *Path("/dev").glob("nvidia*")]]
    refused = [*seccomp.ALWAYS, *(("socket",) if gpu else seccomp.NETWORK)]
    return _confine(rules, refused, mode, unix_sockets=gpu)


def confine_reader(mode: Mode, *, imports: bool) -> list[str]:
    """Confine this process to the files that are open already, and with `imports` to Python's modules. It starts no
    program, and signals no other process.

    Within a confined process it adds to the confinement. Raises NotConfined in the mode REQUIRE.
    """
    rules = [Rule(Path(path), landlock.READ) for path in _libraries()] if imports else []
    refused = [*seccomp.ALWAYS, *seccomp.EXEC, *seccomp.NETWORK, *seccomp.SIGNALS]
    return _confine(rules, refused, mode)


def forbid_processes() -> None:
    """Also refuse new processes and threads, in a process that is confined already. Does nothing without seccomp."""
    try:
        seccomp.refuse(seccomp.NEW_PROCESSES)
    except OSError:
        # Reported when the process was confined.
        return


def _confine(rules: Sequence[Rule], refused: Sequence[str], mode: Mode, *, unix_sockets: bool = False) -> list[str]:
    if mode is Mode.OFF:
        return []
    steps: dict[str, Callable[[], object]] = {
        "no_new_privs": privileges.set_no_new_privileges,
        "dumps": privileges.forbid_dumps,
        "capabilities": lambda: privileges.drop_capabilities(platform.machine()),
        "Landlock": lambda: landlock.restrict(rules),
        "seccomp": lambda: seccomp.refuse(refused, unix_sockets=unix_sockets),
    }
    missing = []
    for name, step in steps.items():
        try:
            step()
        except (OSError, KeyError) as error:
            missing.append(f"{name} ({error})")
    if missing and mode is Mode.REQUIRE:
        raise NotConfined(", ".join(missing))
    return missing


def _python() -> Iterator[Rule]:
    """What this interpreter and this package need, also to start a program of the package."""
    yield Rule(_PACKAGE.parent, landlock.READ_DIR)
    for folder in ("engines", "domain"):
        yield Rule(_PACKAGE / folder, landlock.READ)
    for path in _PACKAGE.glob("*.py"):
        yield Rule(path, landlock.READ)
    for name in (*_libraries(), *_SYSTEM):
        yield Rule(Path(name), landlock.READ)
    for name in _DEVICES:
        yield Rule(Path(name), landlock.USE_DEVICE)
    yield Rule(Path(sys.prefix) / "pyvenv.cfg", landlock.READ)
    yield Rule(Path(os.path.realpath(sys.executable)), landlock.READ | landlock.EXECUTE)
    for folder in _LOADERS:
        for loader in (*Path(folder).glob("ld-*.so*"), *Path(folder).glob("*-linux-*/ld-*.so*")):
            yield Rule(loader, landlock.READ | landlock.EXECUTE)


def _libraries() -> set[str]:
    """The folders of Python's modules, also those that a `.pth` file or PYTHONPATH names.

    Without the working folder and this package's parent, which in a checkout hold much more than modules.
    """
    paths = sysconfig.get_paths()
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    library = str(sysconfig.get_config_var("LIBDIR") or paths["stdlib"])
    own = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    others = {Path.cwd(), _PACKAGE.parent}
    imported = [entry for entry in sys.path if os.path.isabs(entry) and Path(entry).resolve() not in others]
    folders = {*own, *site.getsitepackages(), *user, library, *imported}
    return folders.union(*map(_linked, folders))


def _linked(folder: str) -> Iterator[str]:
    """What the symbolic links in a folder of modules lead to: some installers link each module from a store."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield os.path.realpath(entry.path)


def _files(model: Path) -> Iterator[Rule]:
    """The model's file, with the other parts of a model in several; not the folder, which has other models too."""
    yield Rule(model, landlock.READ)
    named = _PART.search(model.name)
    for number in range(1, int(named[1]) + 1 if named else 0):
        assert named is not None
        yield Rule(model.with_name(f"{model.name[: named.start()]}-{number:05}-of-{named[1]}.gguf"), landlock.READ)

"""What a confined process can still do: tried by processes that confine themselves as runners and their programs do."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models_app.engines.confinement import confining, landlock, seccomp
from models_app.engines.confinement.confining import Mode


def has_landlock() -> bool:
    try:
        return landlock.version() >= 4
    except OSError:
        return False


def has_seccomp() -> bool:
    try:
        seccomp.check()
    except OSError:
        return False
    return True


needs_all = pytest.mark.skipif(
    not (has_landlock() and has_seccomp()), reason="this kernel has no Landlock with network rules, or no seccomp"
)
# Begins a program that confines itself, and tries.
_PROGRAM = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from pathlib import Path
from models_app.engines.confinement import confining, seccomp
from models_app.engines.confinement.confining import Mode
def tried(action):
    try:
        result = action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
def confine(kind, model):
    if kind == "none": return []
    if kind == "runner": return confining.confine_runner(Path(model), gpu=False, mode=Mode.REQUIRE)
    missing = confining.confine_reader(Mode.REQUIRE, imports=kind == "renderer")
    if kind == "renderer": confining.forbid_processes()
    return missing
"""
KINDS = ("runner", "renderer", "reader")


def run(kind: str, model: Path, program: str, *arguments: object) -> Any:
    """What `program`, which has `tried` and the list `given`, prints as JSON after its confinement."""
    text = f"{_PROGRAM}\nconfine({kind!r}, {str(model)!r})\ngiven = sys.argv[1:]\n{program}"
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "m.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    return path


@pytest.fixture
def secrets(tmp_path: Path, model: Path) -> list[Path]:
    """Files that a runner has no business with: of the server, of other models, of others."""
    folder = tmp_path / "data"
    (folder / "spool").mkdir(parents=True)
    names = ("noa.sqlite3", "noa.sqlite3-wal", "encryption_key", "secret_key", "server.lock", "spool/web.1")
    paths = [folder / name for name in names]
    paths += [model.with_name("other.gguf"), model.with_name("m.gguf.bak"), tmp_path / "run.sock.log"]
    for path in paths:
        path.write_text("secret")
    return paths


_FILES = """
def link(path): os.link(path, path + ".link")
def write(path):
    with open(path, "r+b"): pass
actions = {
    "read": lambda path: open(path, "rb").close(),
    "write": write,
    "append": lambda path: open(path, "ab").close(),
    "truncate": lambda path: os.truncate(path, 0),
    "chmod": lambda path: os.chmod(path, 0o777),
    "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "setxattr": lambda path: os.setxattr(path, "user.x", b"x"),
    "link": link,
    "rename": lambda path: os.rename(path, path + ".moved"),
    "symlink": lambda path: os.symlink(path, path + ".symlink"),
    "unlink": lambda path: os.unlink(path),
    "list": lambda path: os.listdir(os.path.dirname(path)),
    "new file": lambda path: open(path + ".new", "wb").close(),
    "new folder": lambda path: os.mkdir(path + ".folder"),
    "by descriptor": lambda path: os.open("/proc/self/root" + path, os.O_RDONLY),
}
print(json.dumps({f"{name} {path}": tried(lambda: action(path)) for path in given for name, action in actions.items()}))
"""


@needs_all
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_the_server_or_of_another_model_is_reached(kind: str, model: Path, secrets: list[Path]) -> None:
    found = run(kind, model, _FILES, *secrets)
    assert {what: how for what, how in found.items() if how not in ("EACCES", "EPERM")} == {}
    assert all(path.read_text() == "secret" for path in secrets)


@needs_all
def test_modules_of_a_folder_that_a_path_file_names_are_imported(model: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "distant.py").write_text("here = True")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "distant.py").symlink_to(tmp_path / "store" / "distant.py")
    program = _PROGRAM.replace("import ", "import sys; sys.path.append(sys.argv[1])\nimport ", 1)
    text = f"{program}\nconfine('runner', {str(model)!r})\nimport distant\nprint(json.dumps(distant.here))"
    command = [sys.executable, "-c", text, str(tmp_path / "elsewhere")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "true\n"


def test_without_confinement_the_same_attempts_succeed(model: Path, secrets: list[Path]) -> None:
    """Otherwise the tests above would show nothing."""
    found = run("none", model, _FILES, secrets[0])
    assert {how for what, how in found.items() if "xattr" not in what and "list" not in what} >= {"ok"}
    assert [how for what, how in found.items() if what.startswith(("read", "write", "chmod", "rename"))] == ["ok"] * 4


@needs_all
def test_a_runner_reads_its_model_in_all_its_parts(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    strange = [tmp_path / "big-00004-of-00003.gguf", tmp_path / "other-00001-of-00003.gguf"]
    for path in (*parts, *strange):
        path.write_text("x")
    program = "print(json.dumps([tried(lambda: open(path).close()) for path in given]))"
    assert run("runner", parts[0], program, *parts, *strange) == ["ok"] * 3 + ["EACCES"] * 2


@needs_all
def test_a_runner_reads_its_model_through_a_link(tmp_path: Path, model: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    program = "print(json.dumps([tried(lambda: open(given[0]).close()), tried(lambda: open(given[1]).close())]))"
    other = model.with_name("other.gguf")
    other.write_text("x")
    assert run("runner", link, program, link, other) == ["ok", "EACCES"]


_REST = """
import signal
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    column = 0 if os.uname().machine == "x86_64" else 1
    number = seccomp._CALLS[name][column]
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(one) for one in arguments]) < 0:
        raise OSError(ctypes.get_errno(), name)
def connect(family, address):
    with socket.socket(family) as client:
        client.connect(address)
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", 9))
port, unix = int(given[0]), given[1]
parent = os.getppid()
print(json.dumps({
    "tcp": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", port))),
    "tcp6": tried(lambda: connect(socket.AF_INET6, ("::1", port))),
    "udp": tried(udp),
    "raw": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
    "unix": tried(lambda: connect(socket.AF_UNIX, unix)),
    "listen": tried(lambda: socket.create_server(("127.0.0.1", 0)).close()),
    "shell": tried(lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "exit"], {})),
    "signal": tried(lambda: os.kill(parent, signal.SIGCONT)),
    "environment": tried(lambda: open(f"/proc/{parent}/environ").close()),
    "memory": tried(lambda: open(f"/proc/{parent}/mem").close()),
    "descriptors": tried(lambda: os.readlink(f"/proc/{parent}/fd/0")),
    "root": tried(lambda: os.listdir(f"/proc/{parent}/root")),
    "ptrace": tried(lambda: call("ptrace", 16, parent, 0, 0)),
    "process_vm_readv": tried(lambda: call("process_vm_readv", parent, 0, 0, 0, 0, 0)),
    "pidfd_getfd": tried(lambda: call("pidfd_getfd", 0, 0, 0)),
    "bpf": tried(lambda: call("bpf", 0, 0, 0)),
    "keyctl": tried(lambda: call("keyctl", 0, 0, 0)),
    "userfaultfd": tried(lambda: call("userfaultfd", 0)),
    "perf_event_open": tried(lambda: call("perf_event_open", 0, 0, 0, 0, 0)),
    "io_uring_setup": tried(lambda: call("io_uring_setup", 0, 0)),
    "kexec_load": tried(lambda: call("kexec_load", 0, 0, 0, 0)),
    "mount": tried(lambda: call("mount", 0, 0, 0, 0, 0)),
    "unshare": tried(lambda: call("unshare", 0x10000000)),
    "setns": tried(lambda: call("setns", 0, 0)),
    "new user namespace": tried(lambda: call("clone", 0x10000011, 0, 0, 0, 0)),
    "clock": tried(lambda: call("clock_settime", 0, 0)),
    "reboot": tried(lambda: call("reboot", 0, 0, 0, 0)),
    "module": tried(lambda: call("finit_module", 0, 0, 0)),
}))
"""


@needs_all
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_is_reached(kind: str, model: Path, tmp_path: Path) -> None:
    import socket

    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        found = run(kind, model, _REST, listener.getsockname()[1], path)
    # The answer of a kernel without IPv6, or to the number of a descriptor, would be another one.
    assert {what: how for what, how in found.items() if how not in ("EACCES", "EPERM")} == {}


_STATUS = """
import resource
status = dict(line.split(":", 1) for line in open(given[0]).read().splitlines() if ":" in line)
names = ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd", "CapAmb")
print(json.dumps({name: status[name].strip() for name in names}
    | {"core": resource.getrlimit(resource.RLIMIT_CORE)[1], "owner": os.stat("/proc/self/smaps").st_uid}))
"""


@needs_all
def test_rights_are_given_up_for_good(model: Path) -> None:
    found = run("runner", model, _STATUS, "/proc/self/status")
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    # Less than a page: no file; and the kernel pipes nothing to a crash handler at a limit of 1.
    assert found["core"] <= 1
    # A process that is not "dumpable" belongs to root in /proc: a worker could not read its memory use.
    assert found["owner"] == os.geteuid()
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")} == {0}
    if os.geteuid() == 0:
        assert int(found["CapBnd"], 16) == 0


@needs_all
def test_a_runner_starts_python_and_its_child_is_confined(model: Path, secrets: list[Path]) -> None:
    program = (
        "code = 'import models_app.engines.spec; open(' + repr(given[0]) + ')'\n"
        "done = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)\n"
        "print(json.dumps(done.stderr))"
    )
    assert "PermissionError" in run("runner", model, program, secrets[0])


@needs_all
def test_a_renderer_starts_no_process_and_no_thread(model: Path) -> None:
    program = "print(json.dumps([tried(os.fork), tried(lambda: subprocess.run([sys.executable, '-c', '']))]))"
    assert run("renderer", model, program) == ["EPERM", "EPERM"]


@needs_all
def test_it_can_be_switched_off(model: Path, secrets: list[Path]) -> None:
    program = (
        "missing = confining.confine_runner(Path(given[0]), gpu=False, mode=Mode.OFF)\n"
        "print(json.dumps([missing, tried(lambda: open(given[1]).close())]))"
    )
    assert run("none", model, program, model, secrets[0]) == [[], "ok"]


@needs_all
def test_a_build_for_gpus_reaches_devices_and_unix_sockets_only(model: Path, tmp_path: Path) -> None:
    program = (
        "confining.confine_runner(Path(given[0]), gpu=True, mode=Mode.REQUIRE)\n"
        "print(json.dumps([tried(lambda: socket.socket(family).close()) for family in (1, 2, 10, 16)]))"
    )
    assert run("none", model, program, model) == ["ok", "EPERM", "EPERM", "EPERM"]


def test_what_a_kernel_lacks_is_named_and_prevents_the_start_where_it_is_required(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a child: a confinement cannot be undone. Its kernel has neither Landlock nor a known processor."""
    program = (
        "from models_app.engines.confinement import landlock\n"
        "landlock._CREATE_RULESET = 9999\n"
        "import platform; platform.machine = lambda: 'mips'\n"
        "missing = confining.confine_runner(Path(given[0]), gpu=False, mode=Mode.AUTO)\n"
        "try:\n    confining.confine_runner(Path(given[0]), gpu=False, mode=Mode.REQUIRE)\n"
        "except confining.NotConfined as error:\n    missing.append(str(error))\n"
        "print(json.dumps(missing))"
    )
    *parts, whole = run("none", model, program, model)
    assert [part.split()[0] for part in parts] == ["capabilities", "Landlock", "seccomp"]
    assert "Landlock" in whole


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the table of this processor's calls is not at hand")
def test_the_numbers_of_calls_are_the_kernels() -> None:
    """Python knows the numbers of some calls by what they do: an unknown number would answer ENOSYS."""
    libc_header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not libc_header.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = dict(
        line.split()[1:3] for line in libc_header.read_text().splitlines() if line.startswith("#define __NR_")
    )
    known = {name: number for name, (number, _) in seccomp._CALLS.items() if f"__NR_{name}" in numbers}
    assert len(known) > 60
    assert known == {name: int(numbers[f"__NR_{name}"]) for name in known}


def test_the_numbers_of_other_processors_are_the_kernels() -> None:
    header = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if line.startswith(("#define __NR_", "#define __NR3264_")) and len(words) == 3 and words[2].isdigit():
            numbers[words[1].replace("__NR3264_", "__NR_")] = int(words[2])
    known = {name: number for name, (_, number) in seccomp._CALLS.items() if f"__NR_{name}" in numbers}
    assert len(known) > 60
    assert known == {name: numbers[f"__NR_{name}"] for name in known}
    assert errno.EPERM == 1
    assert confining.Mode("auto") is Mode.AUTO

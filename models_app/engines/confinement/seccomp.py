"""Seccomp: system calls that a process cannot make from now on, for itself and all that it starts.

A list of what is refused, not of what is allowed: llama.cpp, Python and the drivers of GPUs use calls that differ
between versions.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable, Iterator

from models_app.engines.confinement import kernel

# Numbers by processor; None: the processor has no such call. From the kernel's tables of system calls.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    # Other processes' memory and files.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Other views of the file system.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    # Changes of files that Landlock does not refuse.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "truncate": (76, 45),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "fanotify_init": (300, 262),
    # Parts of the kernel with many faults, which no model needs.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # The machine.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    # Refused by some policies only.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
}
EXEC = ("execve", "execveat")
NEW_PROCESSES = ("fork", "vfork", "clone", "clone3")
NETWORK = ("socket", "connect", "bind")
# `tgkill` stays: a process aborts by it.
SIGNALS = ("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "pidfd_open")
_OPTIONAL = frozenset((*EXEC, *NEW_PROCESSES, *NETWORK, *SIGNALS, "tgkill"))
ALWAYS = tuple(name for name in _CALLS if name not in _OPTIONAL)

# AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64, and the column of `_CALLS`.
_PROCESSORS = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_X32 = 0x40000000
_CLONE_NAMESPACES = 0x7E020000
_AF_UNIX = 1

# linux/bpf_common.h: load a word, jump if equal / at least / any bit set, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_SET_FILTER, _GET_ACTION, _ALL_THREADS = 1, 2, 1

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def check() -> None:
    """Raises OSError where the kernel has no filters, a container forbids them, or the processor is unknown."""
    kernel.call(_number_of_seccomp(), ctypes.c_uint(_GET_ACTION), ctypes.c_uint(0), ctypes.byref(ctypes.c_uint(_ERRNO)))


def refuse(names: Iterable[str], *, unix_sockets: bool = False) -> None:
    """Refuse these calls with EPERM, in all threads. Raises OSError. Call after `no_new_privs`.

    New namespaces are always refused. With `unix_sockets` sockets of the machine itself are allowed.
    """
    program = b"".join(struct.pack("=HBBI", *one) for one in _program(list(names), unix_sockets))
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the count, and an aligned pointer.
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    kernel.call(_number_of_seccomp(), ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_ALL_THREADS), ctypes.c_char_p(filters))


def _number_of_seccomp() -> int:
    machine = platform.machine()
    if machine not in _SECCOMP:
        raise OSError(errno.ENOSYS, f"no filter for the processor {machine}")
    return _SECCOMP[machine]


def _program(names: list[str], unix_sockets: bool) -> Iterator[Instruction]:
    machine = platform.machine()
    architecture, column = _PROCESSORS[machine]
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, architecture
    yield _fail(errno.EPERM)
    yield _LOAD, 0, 0, _NUMBER
    if machine == "x86_64":
        yield _AT_LEAST, 0, 1, _X32
        yield _fail(errno.EPERM)
    for name in names:
        number = _CALLS[name][column]
        if number is None:
            continue
        if name == "socket" and unix_sockets:
            yield from _socket(number)
        else:
            yield _EQUAL, 0, 1, number
            yield _fail(errno.EPERM)
    yield from _namespaces(column)
    yield _RETURN, 0, 0, _ALLOW


def _socket(number: int) -> Iterator[Instruction]:
    yield _EQUAL, 0, 4, number
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _EQUAL, 1, 0, _AF_UNIX
    yield _fail(errno.EPERM)
    yield _RETURN, 0, 0, _ALLOW


def _namespaces(column: int) -> Iterator[Instruction]:
    """`clone` without new namespaces. A filter cannot read the flags of `clone3`: without it libraries use `clone`."""
    clone, clone3 = _CALLS["clone"][column], _CALLS["clone3"][column]
    assert clone is not None
    assert clone3 is not None
    yield _EQUAL, 0, 1, clone3
    yield _fail(errno.ENOSYS)
    yield _EQUAL, 0, 4, clone
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _ANY_BIT, 0, 1, _CLONE_NAMESPACES
    yield _fail(errno.EPERM)
    yield _RETURN, 0, 0, _ALLOW


def _fail(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERRNO | number

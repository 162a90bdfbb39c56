"""Several hosts on one machine: network namespaces on a bridge, each of which can be disconnected."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self

# Interfaces have at most 15 characters; several test runs can share one machine.
_MARK = f"n{os.getpid() % 1_000_000}"
_BYTE = os.getpid() % 250
NETWORK = f"10.231.{_BYTE}.0/24"
GATEWAY = f"10.231.{_BYTE}.254"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def why_not() -> str:
    """Why hosts cannot be created here; empty when they can."""
    if shutil.which("ip") is None:
        return "there is no 'ip': install Debian's package 'iproute2'"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    name = f"{_MARK}try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
        _ip("link", "add", f"{_MARK}b", "type", "bridge")
        _ip("link", "delete", f"{_MARK}b")
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    return ""


class Host:
    """`prefix` is the command prefix to run there."""

    def __init__(self, number: int) -> None:
        self.namespace = f"{_MARK}h{number}"
        self.address = f"10.231.{_BYTE}.{number}"
        self._cable = f"{_MARK}c{number}"

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        """Disconnect it: packets are dropped silently."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self._cable, "up")

    def make(self, bridge: str) -> None:
        inner = f"{_MARK}e{self.namespace[-1]}"
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", self.namespace)
        _ip("link", "set", self._cable, "master", bridge)
        _ip("link", "set", self._cable, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", inner),
            ("link", "set", inner, "up"),
        ):
            _ip("-n", self.namespace, *words)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._cable], check=False, capture_output=True)


class Hosts:
    """`with Hosts(3) as hosts:` they reach each other, and this process at GATEWAY."""

    def __init__(self, count: int) -> None:
        self._bridge = f"{_MARK}br"
        self.hosts = [Host(number) for number in range(1, count + 1)]

    def __enter__(self) -> Self:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{GATEWAY}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for host in self.hosts:
            host.make(self._bridge)
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.remove()
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)

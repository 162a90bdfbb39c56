"""Addresses at which other machines reach a node's runners, and their checks."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from models_app.domain.errors import InvalidRequest

# The name in every node's certificate. The address of a node can change, and all nodes are trusted alike.
TLS_NAME = "noa-node"
NODE_NAME_PATTERN = r"[a-z0-9][a-z0-9.-]{0,62}"
# The requests to a runner that its node forwards. Not /drain: only a runner's own node ends it.
FORWARDED = {
    "health": "GET",
    "v1/models": "GET",
    "v1/chat/completions": "POST",
    "v1/completions": "POST",
    "v1/embeddings": "POST",
}
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """The address of a node's runner proxy. As text it is `https://host:port`, or `http://…` without TLS."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @classmethod
    def parse(cls, text: str) -> NodeAddress:
        """The inverse of `str`; raises InvalidRequest for anything else, and without TLS for another machine."""
        scheme, _, rest = text.partition("://")
        found = cls.listening(rest, is_tls=scheme == "https")
        if scheme not in ("http", "https") or not (found.is_tls or found.is_loopback):
            raise InvalidRequest(f"'{text[:100]}' is not a trusted address of a node.")
        return found

    @classmethod
    def listening(cls, text: str, *, is_tls: bool) -> NodeAddress:
        """Parse `host:port`; raises InvalidRequest for anything else."""
        if not _HOST_AND_PORT.fullmatch(text) or int(text.rpartition(":")[2]) > 65535:
            raise InvalidRequest(f"'{text[:100]}' is not 'host:port', like '10.0.0.2:8790'.")
        parts = urlsplit(f"//{text}")
        return cls(str(parts.hostname), int(text.rpartition(":")[2]), is_tls)


def is_loopback(host: str) -> bool:
    """Whether traffic to this host stays on this machine. A name other than `localhost` can resolve to any address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_any(host: str) -> bool:
    """Whether an address is a wildcard: for listening only, not to connect to."""
    return host in ("0.0.0.0", "::")

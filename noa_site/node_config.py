"""The settings of a node: its name, the address of its runners, and how nodes authenticate each other."""

from __future__ import annotations

import re
import socket

from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.nodes import NODE_NAME_PATTERN, NodeAddress, is_any
from models_app.engines.trust import NodeTrust

# Stands for the machine's host name: replicas of a container share one configuration.
OWN_HOSTNAME = "@hostname"
_NAME = re.compile(NODE_NAME_PATTERN)


def named(value: str) -> str:
    """The node's name; raises ValueError when it is invalid."""
    name = socket.gethostname().lower() if value == OWN_HOSTNAME else value
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"'{name[:80]}' cannot be the name of a node: use lower-case letters, digits, '.' and '-', at most 63"
        )
    return name


def listening(text: str, trust: NodeTrust) -> NodeAddress:
    """The address of this node's proxy; raises ValueError if it is invalid, or open to unauthenticated clients."""
    try:
        found = NodeAddress.listening(text, is_tls=trust.certificate is not None)
        trust.check(is_loopback=found.is_loopback)
        trust.server_context()
    except InvalidRequest as error:
        raise ValueError(error.message) from None
    except OSError as error:
        raise ValueError(f"its certificate or key cannot be used: {error}") from None
    return found


def reached_at(text: str | None, listens: NodeAddress) -> NodeAddress:
    """The address of `listens` for other nodes; raises ValueError when it cannot be derived."""
    if text is not None:
        try:
            return NodeAddress.listening(text, is_tls=listens.is_tls)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
    if not is_any(listens.host):
        return listens
    found = _own_address()
    if found is None:
        raise ValueError(
            f"NOA_NODE_LISTEN is {listens.host}, which is not an address that other nodes can connect to: set"
            " NOA_NODE_ADDRESS, like '10.0.0.2:8790'"
        )
    return NodeAddress(found, listens.port, listens.is_tls)


def _own_address() -> str | None:
    """The address of the machine's host name: in a container, its address in the network of the containers."""
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError:
        return None
    return None if found.startswith("127.") else found

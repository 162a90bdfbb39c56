"""The proxy through which other machines reach this node's runners. Only a worker with NOA_NODE_LISTEN has one."""

from __future__ import annotations

import socket

from django.conf import settings

from models_app.domain.errors import Conflict
from models_app.domain.residency.nodes import NodeAddress
from models_app.engines.proxy import RunnerProxy
from models_app.services.runners import node

_proxy: RunnerProxy | None = None


def start() -> None:
    """Start the proxy, after `node.start`. Raises Conflict when the address is in use or not of this machine."""
    global _proxy
    if settings.NOA_NODE_LISTEN is None:
        return
    where = NodeAddress.listening(settings.NOA_NODE_LISTEN, is_tls=False)
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    try:
        listener = socket.create_server((where.host, where.port), family=family)
    except OSError as error:
        raise Conflict(
            f"Cannot listen on {settings.NOA_NODE_LISTEN}: {error.strerror}. Choose another NOA_NODE_LISTEN.",
            code="address_in_use",
        ) from error
    _proxy = RunnerProxy(listener=listener, find=_socket_of, trust=settings.NOA_NODE_TRUST)
    _proxy.start()


def stop() -> None:
    global _proxy
    if _proxy is not None:
        _proxy.stop()
        _proxy = None


def _socket_of(instance_id: str) -> str | None:
    runner = node.runner(instance_id=instance_id)
    return runner.spec.socket if runner is not None else None

"""The open connections of a web process: how many there can be, in all and from one address, and which end first."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from models_app.domain.addresses import network_of


class Connection(Protocol):
    """What the register must know of a connection."""

    @property
    def end_order(self) -> int | None:
        """Which connections end first when there are too many, 0 before 1; None for one that must not end."""

    def end(self) -> None:
        """Closes it at once."""


class TrustedProxies:
    """Their clients share their address, so it is not limited. Addresses, networks, or `*` for every address."""

    def __init__(self, entries: Iterable[str]) -> None:
        texts = list(entries)
        self._all = "*" in texts
        self._networks = [ipaddress.ip_network(text, strict=False) for text in texts if _is_network(text)]

    def __contains__(self, address: str) -> bool:
        if self._all:
            return True
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(ip.version == net.version and ip in net for net in self._networks)


class Connections:
    """Not thread-safe: the event loop uses it. Addresses are as `origin` returns them; '' is not limited."""

    def __init__(self, *, total: int, per_address: int, on_room: Callable[[], None] = lambda: None) -> None:
        """`on_room` is called when there can be room, after `has_room` was false."""
        self.total = total
        self.per_address = per_address
        self.on_room = on_room
        # The one that has been quiet for longest comes first.
        self._open: OrderedDict[Connection, str] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._is_full = False

    def __len__(self) -> int:
        return len(self._open)

    def has_room(self) -> bool:
        """Whether one more connection can be accepted, at least in place of one that can end."""
        self._is_full = not (len(self) < self.total or self._endable() is not None)
        return not self._is_full

    def admit(self, address: str) -> bool:
        """Whether an accepted connection from `address` can stay; ends another one of it, if necessary.

        `has_room` must have been true.
        """
        if address and self._counts[address] >= self.per_address:
            return self._end_one(address)
        return len(self) < self.total or self._end_one()

    def add(self, connection: Connection, address: str) -> None:
        self._open[connection] = address
        self._counts[address] += 1

    def active(self, connection: Connection) -> None:
        """It received something, or finished an answer."""
        if connection in self._open:
            self._open.move_to_end(connection)
        if self._is_full:
            self.changed()

    def changed(self) -> None:
        """A connection can end now that could not before."""
        if self._is_full:
            self._is_full = False
            self.on_room()

    def closed(self, connection: Connection) -> None:
        address = self._open.pop(connection, None)
        if address is not None:
            self._forget(address)
        self.changed()

    def _forget(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]

    def _end_one(self, address: str | None = None) -> bool:
        found = self._endable(address)
        if found is None:
            return False
        # Before it is closed: an end is noticed later.
        self._forget(self._open.pop(found))
        found.end()
        return True

    def _endable(self, address: str | None = None) -> Connection | None:
        """The first connection to end, of any address or of this one: of its order, the one quiet for longest."""
        found, lowest = None, None
        for connection, origin in self._open.items():
            if address not in (None, origin):
                continue
            order = connection.end_order
            if order == 0:
                return connection
            if order is not None and (lowest is None or order < lowest):
                found, lowest = connection, order
        return found


def origin(address: str, trusted: TrustedProxies) -> str:
    """By what connections of an address are counted: a network of 64 bits for IPv6, '' for a trusted proxy."""
    return "" if not address or address in trusted else network_of(address)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True

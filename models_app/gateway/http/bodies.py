"""A bound for the bytes of all request bodies that a process holds, in memory and in temporary files."""

from __future__ import annotations

from models_app.domain.errors import Unavailable

# The owner of bodies without a valid key or session.
ANONYMOUS = ""
# The largest body without a valid key or session: a form to sign in, or a request that is answered with 401.
ANONYMOUS_BODY_BYTES = 64 * 1024
# Large bodies end within seconds.
_RETRY_SECONDS = 2


class BodiesFull(Unavailable):
    """503: the bodies in progress take as much memory as they can."""

    default_code = "bodies_full"


class Bodies:
    """Counts bodies by owner. `total` bytes for all of them; an owner gets half, all anonymous ones a sixteenth.

    Not thread-safe: the event loop uses it.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._by_owner: dict[str, int] = {}

    @property
    def held(self) -> int:
        """The bytes of all bodies in progress."""
        return self._held

    def take(self, owner: str, size: int) -> None:
        """Raises BodiesFull when `size` more bytes are too many, in total or for this owner. `free` returns them."""
        owned = self._by_owner.get(owner, 0) + size
        if self._held + size > self._total or owned > self._total // (2 if owner else 16):
            raise BodiesFull(
                "The bodies of other requests in progress take all the memory for bodies. Try again in a moment, with "
                "fewer large requests at once.",
                retry_after=_RETRY_SECONDS,
            )
        self._held += size
        self._by_owner[owner] = owned

    def free(self, owner: str, size: int) -> None:
        self._held -= size
        owned = self._by_owner[owner] - size
        if owned:
            self._by_owner[owner] = owned
        else:
            del self._by_owner[owner]


class Body:
    """What one request has taken of `Bodies`."""

    __slots__ = ("_bodies", "owner", "size")

    def __init__(self, bodies: Bodies, owner: str = ANONYMOUS) -> None:
        self._bodies = bodies
        self.owner = owner
        self.size = 0

    def grow_to(self, size: int) -> None:
        """Raises BodiesFull when the body cannot have `size` bytes now."""
        if size > self.size:
            self._bodies.take(self.owner, size - self.size)
            self.size = size

    def hand_to(self, owner: str) -> None:
        """The body has another owner, because its key was checked meanwhile."""
        if owner != self.owner:
            size = self.size
            self.free()
            self.owner = owner
            self.grow_to(size)

    def free(self) -> None:
        if self.size:
            self._bodies.free(self.owner, self.size)
            self.size = 0

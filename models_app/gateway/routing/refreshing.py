"""The source of routing snapshots, and the coalesced refresh before an unknown name or key is refused."""

from __future__ import annotations

import asyncio
from typing import Protocol

from models_app.domain.traffic.routing import Snapshot

# A flood of unknown names or keys reads the database at most this often.
_MISS_SECONDS = 0.5


class SnapshotSource(Protocol):
    """`current` is read for every request, so it must not block or compute.

    `refresh` fetches a newer snapshot, replaces `current` and returns it; `reason` is for the log. Concurrent calls are
    allowed, and a caller can be cancelled while it waits.
    """

    @property
    def current(self) -> Snapshot: ...

    async def refresh(self, reason: str) -> Snapshot: ...


class SnapshotRefresher:
    """Refreshes the snapshot after a miss: another process can have created the name or key a moment ago."""

    def __init__(self, snapshots: SnapshotSource) -> None:
        self._snapshots = snapshots
        self._next = 0.0
        self._in_progress: asyncio.Future[Snapshot] | None = None

    async def refresh(self, reason: str) -> bool:
        """Coalesces concurrent refreshes; returns False, without refreshing, within `_MISS_SECONDS` of the last one."""
        refresh = self._in_progress
        if refresh is None or refresh.done():
            now = asyncio.get_running_loop().time()
            if now < self._next:
                return False
            self._next = now + _MISS_SECONDS
            refresh = self._in_progress = asyncio.ensure_future(self._snapshots.refresh(reason))
        # The request that started it can be cancelled while others wait for it.
        await asyncio.shield(refresh)
        return True

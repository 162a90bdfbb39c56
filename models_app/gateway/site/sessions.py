"""Finds the session of a request's cookies, before its body is read. Uses the database, on a separate thread."""

from __future__ import annotations

import asyncio
import hashlib

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import parse_cookie

# Only large forms need it, and any client can send any cookie: they must not take all connections to the database.
_AT_ONCE = 2


class Sessions:
    """For one event loop."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def owner(self, cookies: bytes) -> str:
        """A name of the signed-in session; '' when there is none. `cookies` is the value of the Cookie header."""
        key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")
        if not key:
            return ""
        async with self._free:
            return await asyncio.to_thread(_owner, key)


def _owner(session_key: str) -> str:
    try:
        if SESSION_KEY not in SessionStore(session_key=session_key):
            return ""
    finally:
        connection.close()
    return f"session:{hashlib.sha256(session_key.encode()).hexdigest()}"

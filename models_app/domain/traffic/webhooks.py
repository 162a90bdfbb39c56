"""How an event is signed for a webhook, and when a delivery that failed is tried again."""

from __future__ import annotations

import hashlib
import hmac

# With the waits below an event is tried for two hours: longer than a deployment or a restart of the receiver takes,
# shorter than the event is of use to anybody.
MAX_ATTEMPTS = 8
_FIRST_WAIT_SECONDS = 10.0
_GROWTH = 3.0
_LONGEST_WAIT_SECONDS = 3600.0
# Deliveries that failed together must not come back together.
_SPREAD = 0.2


def signature(*, secret: str, timestamp: int, body: bytes) -> str:
    """The header `X-NOA-Signature`. The time is signed too, so that an old delivery cannot be sent again as a new one."""
    signed = b"%d.%s" % (timestamp, body)
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def wait_seconds(*, attempts: int, chance: float) -> float | None:
    """Until the next attempt, after `attempts` that failed; None when there is none. `chance` is from 0 to 1."""
    if attempts >= MAX_ATTEMPTS:
        return None
    wait = min(_FIRST_WAIT_SECONDS * _GROWTH ** (attempts - 1), _LONGEST_WAIT_SECONDS)
    return wait * (1 - _SPREAD + 2 * _SPREAD * chance)

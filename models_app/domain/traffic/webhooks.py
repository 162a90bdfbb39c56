"""Signs events for webhooks, and schedules the retries of failed deliveries."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

# Together the waits below last two hours: longer than a deployment or a restart of the receiver, and shorter than the
# event is of use.
MAX_ATTEMPTS = 8
_FIRST_WAIT_SECONDS = 10.0
_GROWTH = 3.0
_LONGEST_WAIT_SECONDS = 3600.0
# Jitter, so that deliveries that failed together are not retried together.
_SPREAD = 0.2

# A worker that has not recorded an outcome by then has died. Several times the duration of an attempt.
LEASE_SECONDS = 60.0

SECRET_PREFIX = "whsec_"
# Bounds of Standard Webhooks for a key, in bytes.
KEY_LENGTHS = (24, 64)


def headers(*, secret: str, identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0 (https://www.standardwebhooks.com).

    `identifier` is the same for every attempt of one delivery and holds no full stop; `timestamp` is that of the
    attempt, in Unix seconds. It is signed, so that a recorded delivery cannot be replayed later.
    """
    signed = b"%s.%d.%s" % (identifier.encode(), timestamp, body)
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def legacy_signature(*, secret: str, timestamp: int, body: bytes) -> str:
    """The deprecated header `X-NOA-Signature`; its key is the whole secret as UTF-8. Last included in version 0.2."""
    signed = b"%d.%s" % (timestamp, body)
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def new_secret(key: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """The key bytes of a secret: the base64 after `whsec_`; any other secret as UTF-8.

    An older secret that begins with `whsec_` without valid base64 is UTF-8 too.
    """
    key = _decoded(secret)
    return secret.encode() if key is None else key


def is_malformed(secret: str) -> bool:
    """Whether a secret begins with `whsec_` without the base64 of 24 to 64 bytes behind it."""
    shortest, longest = KEY_LENGTHS
    key = _decoded(secret)
    return secret.startswith(SECRET_PREFIX) and (key is None or not shortest <= len(key) <= longest)


def _decoded(secret: str) -> bytes | None:
    if not secret.startswith(SECRET_PREFIX):
        return None
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        return None


def longest_wait(attempts: int) -> float:
    """The most seconds between this number of attempts and the next one; 0 before the first.

    A delivery that seems to wait for longer was scheduled before the clock was set back, and is due.
    """
    if attempts == 0:
        return 0.0
    wait = wait_seconds(attempts=attempts, chance=1.0)
    return LEASE_SECONDS if wait is None else max(LEASE_SECONDS, wait)


def wait_seconds(*, attempts: int, chance: float) -> float | None:
    """Seconds until the next attempt after `attempts` failures, or None. `chance` (0 to 1) sets the jitter."""
    if attempts >= MAX_ATTEMPTS:
        return None
    wait = min(_FIRST_WAIT_SECONDS * _GROWTH ** (attempts - 1), _LONGEST_WAIT_SECONDS)
    return wait * (1 - _SPREAD + 2 * _SPREAD * chance)

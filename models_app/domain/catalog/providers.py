"""Checks of a provider's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models_app.domain.errors import InvalidRequest

# Seconds, by the name of the timeout: the shortest and the longest that make sense.
TIMEOUT_LIMITS: Mapping[str, tuple[float, float]] = {
    "connect": (0.1, 60.0),
    "first_byte": (1.0, 3600.0),
    "idle": (1.0, 3600.0),
    "total": (1.0, 86_400.0),
}
MAX_SECRET_LENGTH = 2000

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{1,99}")
# Variables that hold secrets of this server and of its database: they must not be sent to a provider.
_OWN_VARIABLES = ("NOA_", "DATABASE_URL", "DJANGO_", "PGPASS", "POSTGRES_", "REDIS_", "CELERY_")


def checked_secret_env(name: str) -> str:
    """The name of an environment variable that is allowed to hold a provider's key; raises InvalidRequest."""
    if not _VARIABLE.fullmatch(name):
        raise InvalidRequest(
            "'secret_env' must be the name of an environment variable: capital letters, digits and '_', 2 to 100"
            " characters. The key itself goes into 'api_key'.",
            code="invalid_secret",
            param="secret_env",
        )
    if name.startswith(_OWN_VARIABLES):
        raise InvalidRequest(
            f"'secret_env' must not be {name}: variables of NOA itself are not sent to providers. Put the key"
            " into a separate variable.",
            code="invalid_secret",
            param="secret_env",
        )
    return name


def checked_secret(text: str, *, param: str = "api_key") -> str:
    """A key that an HTTP header can carry; raises InvalidRequest, whose message does not hold it."""
    if not 0 < len(text) <= MAX_SECRET_LENGTH or not text.isascii() or not text.isprintable():
        raise InvalidRequest(
            f"'{param}' must be printable ASCII, 1 to {MAX_SECRET_LENGTH} characters. Check its end for a line break.",
            code="invalid_secret",
            param=param,
        )
    if text != text.strip():
        raise InvalidRequest(f"'{param}' begins or ends with a space.", code="invalid_secret", param=param)
    return text


def checked_timeouts(timeouts: Mapping[str, object]) -> dict[str, float]:
    """Seconds by name, without nulls; raises InvalidRequest that names the wrong timeout."""
    found: dict[str, float] = {}
    for name, value in timeouts.items():
        if name not in TIMEOUT_LIMITS:
            known = ", ".join(TIMEOUT_LIMITS)
            raise _wrong_timeout(name, f"is unknown. Known: {known}")
        if value is None:
            continue
        low, high = TIMEOUT_LIMITS[name]
        # A value that is not a number, NaN included, fails the comparison.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _wrong_timeout(name, f"must be {low:g} to {high:g} seconds")
        found[name] = float(value)
    return found


def _wrong_timeout(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'timeouts.{name[:40]}' {why}.", param=f"timeouts.{name[:40]}")

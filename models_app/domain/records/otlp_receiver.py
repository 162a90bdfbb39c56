"""A receiver of OTLP over HTTP: its address, the headers that it demands, and what follows from its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

# Of OTLP: the request can succeed later. All others would be refused again.
RETRIED = frozenset({429, 502, 503, 504})
MAX_ATTEMPTS = 5
_MAX_PAUSE_SECONDS = 30.0
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The protocol's own, which NOA sets.
_OURS = frozenset({"content-type", "content-encoding", "content-length", "host", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Receiver:
    """`endpoint` is the base address, as OTEL_EXPORTER_OTLP_ENDPOINT is; `headers` can hold credentials."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compresses: bool = False

    @property
    def url(self) -> str:
        return f"{self.endpoint.rstrip('/')}/v1/traces"


def parse_headers(text: str) -> dict[str, str]:
    """The headers of `name=value,name=value`, whose values are percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them.

    Raises ValueError, whose message holds no value.
    """
    found: dict[str, str] = {}
    for number, part in enumerate(text.split(","), 1):
        if not part.strip():
            continue
        name, equals, value = (piece.strip() for piece in part.partition("="))
        value = unquote(value)
        if not equals or not _NAME.fullmatch(name):
            raise ValueError(f"its entry {number} must be a header: name=value")
        if name.lower() in _OURS:
            raise ValueError(f"its entry {number} cannot set {name}")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"the value of {name} must be printable ASCII after percent-decoding")
        found[name] = value
    return found


def pause(attempt: int, first: float, retry_after: str | None, now: datetime) -> float:
    """Seconds to wait after this attempt, counted from 1: what the receiver names, else twice as long each time."""
    named = _seconds(retry_after, now) if retry_after else None
    return min(first * 2 ** (attempt - 1) if named is None else named, _MAX_PAUSE_SECONDS)


def _seconds(retry_after: str, now: datetime) -> float | None:
    """`Retry-After` in seconds, or as a date; None if it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError):
        # A date without a zone cannot be compared either.
        return None

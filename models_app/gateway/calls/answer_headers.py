"""Headers of answers in the names that clients of LiteLLM read, beside NOA's own."""

from __future__ import annotations

import time
from decimal import Decimal
from urllib.parse import quote

from models_app.domain.records.access import AccessRecord
from models_app.gateway.http.types import Header

# All that a header can hold, but the percent sign, which begins an encoded byte.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def value(name: str) -> bytes:
    """A name as the value of a header: UTF-8, percent-encoded where it is not ASCII."""
    if name.isascii() and name.isprintable() and "%" not in name:
        return name.encode("ascii")
    return quote(name, safe=_SAFE, errors="replace").encode("ascii")


def for_clients(record: AccessRecord, *, fallbacks: int, cost: Decimal | None) -> list[Header]:
    """What is known when the head of an answer is sent. `cost` in US dollars, None before the end of a stream."""
    milliseconds = max(0.0, (time.time() - record.started_at) * 1000)
    found = [
        (b"x-litellm-call-id", record.request_id.encode("ascii")),
        (b"x-litellm-response-duration-ms", b"%.3f" % milliseconds),
        (b"x-litellm-attempted-retries", b"%d" % max(0, record.attempts - 1 - fallbacks)),
        (b"x-litellm-attempted-fallbacks", b"%d" % fallbacks),
    ]
    if record.model_key:
        found.append((b"x-litellm-model-id", value(record.model_key)))
    if record.route or record.requested_model:
        found.append((b"x-litellm-model-group", value(record.route or record.requested_model)))
    if cost is not None:
        found.append((b"x-litellm-response-cost", f"{cost:f}".encode("ascii")))
    return found

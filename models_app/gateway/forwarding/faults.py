"""Failed attempts at a provider: the client's error, the verdict for the circuit, and whether a retry is safe."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import orjson

from models_app.domain.errors import (
    NoaError,
    ProviderAuthFailed,
    ProviderError,
    RateLimited,
)
from models_app.domain.traffic.redaction import redacted
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.dialects.streams import ErrorEvent
from models_app.gateway.http import errors
from models_app.gateway.upstream.connection import (
    Broken,
    ClosedEarly,
    Malformed,
    Redirected,
    Refused,
    UpstreamError,
)
from models_app.gateway.upstream.dialing import AddressRefused, ConnectTimeout

# Errors about the request itself: the client gets them unchanged.
_PASSED_STATUSES = frozenset({400, 404, 413, 422})
# The provider, or a load balancer in front of it, states that it did not do the work.
_RETRIED_STATUSES = frozenset({502, 503, 504, 529})
# A longer wait is left to the client.
MAX_WAIT_SECONDS = 2.0
# The longest `Retry-After` that a client gets, in seconds.
_MAX_RETRY_AFTER = 86_400
_MAX_MESSAGE = 1000
# Only OpenAI has an error code for a prompt that is too long.
_TOO_LONG = re.compile(r"prompt is too long|maximum context length|context (?:length|window) exceeded", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class Verdict(Enum):
    """The effect of a fault on its provider's circuit."""

    FAILED = auto()
    AUTH_REFUSED = auto()
    LIMITED = auto()
    # The provider works: it refused this request.
    REFUSED_REQUEST = auto()


class Fault(Exception):
    """One attempt without an answer for the client.

    `wait` is the seconds after which the same provider can be retried; None when it did, or can have done, the work.
    """

    def __init__(self, error: NoaError, verdict: Verdict, wait: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.verdict = verdict
        self.wait = wait


def from_connection(error: UpstreamError, endpoint: RemoteEndpoint) -> Fault:
    """No valid answer arrived. A retry is safe only when no byte arrived at all."""
    slug = endpoint.provider
    details = {"provider": slug}
    if isinstance(error, AddressRefused):
        answer = ProviderError(
            f"The provider '{slug}' resolves to {error}, an address that NOA does not connect to by default. Have an "
            "administrator allow private addresses for it, if it is your own server.",
            code="address_not_allowed",
            details=details,
        )
        return Fault(answer, Verdict.FAILED)
    if isinstance(error, ConnectTimeout):
        return Fault(
            errors.UpstreamTimeout(f"The provider '{slug}' {error}. Try again.", details=details),
            Verdict.FAILED,
            0.0,
        )
    if isinstance(error, Refused):
        answer = ProviderError(
            f"The provider '{slug}' cannot be reached: {scrubbed(str(error), endpoint)}. Try again.",
            code="provider_unreachable",
            details=details,
        )
        return Fault(answer, Verdict.FAILED, 0.0)
    return Fault(cut(error, endpoint), Verdict.FAILED, 0.0 if isinstance(error, ClosedEarly) else None)


def cut(error: UpstreamError, endpoint: RemoteEndpoint) -> NoaError:
    """The client's error for an answer that broke, before or after it began."""
    slug = endpoint.provider
    details = {"provider": slug}
    if isinstance(error, Redirected):
        return ProviderError(
            f"The provider '{slug}' answered with a redirect, which NOA does not follow. Have an administrator "
            "correct its base URL.",
            code="provider_redirected",
            details=details,
        )
    if isinstance(error, (Broken, ClosedEarly)):
        return ProviderError(
            f"The provider '{slug}' ended the connection before its answer was complete. Try again.",
            code="provider_disconnected",
            details=details,
        )
    assert isinstance(error, (Malformed, Refused))
    return ProviderError(
        f"The provider '{slug}' gave an answer that cannot be forwarded: {scrubbed(str(error), endpoint)}.",
        code="malformed_answer",
        details=details,
    )


def timed_out(endpoint: RemoteEndpoint, seconds: float) -> Fault:
    """The provider sent nothing in time. It can still be working: a retry could be billed twice."""
    answer = errors.UpstreamTimeout(
        f"The provider '{endpoint.provider}' did not begin its answer within {seconds:g} seconds. Try again later.",
        details={"provider": endpoint.provider},
    )
    return Fault(answer, Verdict.FAILED)


def from_answer(status: int, headers: Mapping[bytes, bytes], body: bytes, endpoint: RemoteEndpoint) -> Fault:
    """An answer with an error status; `body` is in the provider's own dialect."""
    error = _error_object(body)
    slug = endpoint.provider
    message = scrubbed(str(error.get("message") or ""), endpoint)
    words = f"The provider '{slug}' reports: {message}" if message else ""
    details: dict[str, Any] = {"provider": slug, "status": status}
    wait = retry_after(headers)
    if status in (401, 403):
        answer: NoaError = ProviderAuthFailed(
            words or f"The provider '{slug}' does not accept NOA's credentials. Inform an operator.",
            details=details,
        )
        return Fault(answer, Verdict.AUTH_REFUSED)
    code = error.get("code") or error.get("type")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    if status == 429:
        answer = RateLimited(
            words or f"The provider '{slug}' limits its rate. Send fewer requests.",
            code="provider_rate_limited",
            details=details | ({"provider_code": code} if code else {}),
            retry_after=_whole_seconds(wait),
        )
        return Fault(answer, Verdict.LIMITED, _soon(wait, None))
    if status in _PASSED_STATUSES:
        param = error.get("param")
        answer = errors.of_status(status)(
            words or f"The provider '{slug}' refused the request with status {status}.",
            code="context_length_exceeded" if _TOO_LONG.search(message) else code or "provider_error",
            param=param[:100] if isinstance(param, str) else None,
            details=details,
        )
        return Fault(answer, Verdict.REFUSED_REQUEST)
    answer = ProviderError(
        words or f"The provider '{slug}' failed with status {status}. Try again.",
        details=details,
        retry_after=_whole_seconds(wait),
    )
    return Fault(answer, Verdict.FAILED, _soon(wait, 0.0) if status in _RETRIED_STATUSES else None)


def in_answer(error: UpstreamError | ErrorEvent, endpoint: RemoteEndpoint) -> NoaError:
    """The client's error for an answer that began well: it broke, or an error took its place."""
    if isinstance(error, UpstreamError):
        return cut(error, endpoint)
    message = scrubbed(str(error.error.get("message") or "something went wrong"), endpoint)
    is_unreadable = error.error.get("code") == "malformed_answer"
    return ProviderError(
        f"The provider '{endpoint.provider}' reports: {message}",
        code="malformed_answer" if is_unreadable else None,
        details={"provider": endpoint.provider},
    )


def scrubbed(text: str, endpoint: RemoteEndpoint) -> str:
    """A provider's message, bounded, on one line, without anything that resembles a credential."""
    return redacted(text, secret=endpoint.api_key, longest=_MAX_MESSAGE)


def retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds to wait, from a number or a date; None when the header is missing or invalid."""
    text = headers.get(b"retry-after", b"").decode("latin-1").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    # NaN compares false with everything.
    return max(0.0, min(seconds, _MAX_RETRY_AFTER)) if seconds == seconds else None


def _whole_seconds(wait: float | None) -> int | None:
    """Whole seconds, rounded up: a retry that is too early fails."""
    return None if wait is None else max(1, -int(-wait // 1))


def _soon(wait: float | None, default: float | None) -> float | None:
    if wait is None:
        return default
    return wait if wait <= MAX_WAIT_SECONDS else None


def _error_object(body: bytes) -> Mapping[str, Any]:
    """The error object of OpenAI's and Anthropic's dialects, and of compatible servers."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}

"""Failed attempts at a provider: the client's error, the verdict for the circuit, and whether a retry is safe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import partial
from typing import Any

from models_app.domain.errors import (
    NoaError,
    ProviderAuthFailed,
    ProviderError,
    ProviderRefused,
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
from models_app.providers.wire import refusals
from models_app.providers.wire.refusals import Refusal

# Errors about the request itself, which no other model would answer either.
_FINAL_STATUSES = frozenset({400, 404, 413, 422})
# A proxy in front of the provider refuses NOA, not the client.
_PROXY_AUTH = 407
# The provider, or a load balancer in front of it, states that it did not do the work.
_RETRIED_STATUSES = frozenset({502, 503, 504, 529})
# A longer wait is left to the client.
MAX_WAIT_SECONDS = 2.0
# The longest `Retry-After` that a client gets, in seconds.
_MAX_RETRY_AFTER = 86_400
_MAX_MESSAGE = 1000
# Only OpenAI has an error code for a prompt that is too long.
_TOO_LONG = re.compile(r"prompt is too long|maximum context length|context (?:length|window) exceeded", re.IGNORECASE)


class Verdict(Enum):
    """What a failed attempt says about its provider."""

    # No connection: no request of any client would be sent.
    UNREACHABLE = auto()
    # The connection ended without an answer: the provider is gone, or this request made it close.
    CLOSED = auto()
    # It refuses NOA's credentials, which all requests have.
    AUTH_REFUSED = auto()
    # It limits the rate of this model.
    LIMITED = auto()
    # It works, and refused this request.
    REFUSED_REQUEST = auto()
    # It answered this request with a server error, or with something that is not an answer.
    FAILED = auto()
    # It sent nothing in time.
    SILENT = auto()


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
        return Fault(answer, Verdict.UNREACHABLE)
    if isinstance(error, ConnectTimeout):
        return Fault(
            errors.UpstreamTimeout(f"The provider '{slug}' {error}. Try again.", details=details),
            Verdict.UNREACHABLE,
            0.0,
        )
    if isinstance(error, Refused):
        answer = ProviderError(
            f"The provider '{slug}' cannot be reached: {scrubbed(str(error), endpoint)}. Try again.",
            code="provider_unreachable",
            details=details,
        )
        return Fault(answer, Verdict.UNREACHABLE, 0.0)
    if isinstance(error, ClosedEarly):
        return Fault(cut(error, endpoint), Verdict.CLOSED, 0.0)
    return Fault(cut(error, endpoint), Verdict.FAILED)


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
    return Fault(answer, Verdict.SILENT)


def from_answer(status: int, headers: Mapping[bytes, bytes], body: bytes, endpoint: RemoteEndpoint) -> Fault:
    """An answer with an error status; `body` is in the provider's own dialect."""
    return _of_refusal(status, refusals.read(body), endpoint, retry_after(headers))


def _of_refusal(status: int, refusal: Refusal, endpoint: RemoteEndpoint, wait: float | None) -> Fault:
    slug = endpoint.provider
    message = scrubbed(refusal.message, endpoint)
    words = f"The provider '{slug}' reports: {message}" if message else ""
    details = _details(status, refusal, endpoint)
    if refusals.is_about_credentials(status, refusal):
        answer: NoaError = ProviderAuthFailed(
            words or f"The provider '{slug}' does not accept NOA's credentials. Inform an operator.",
            details=details,
        )
        return Fault(answer, Verdict.AUTH_REFUSED)
    if status == 429:
        answer = RateLimited(
            words or f"The provider '{slug}' limits its rate. Send fewer requests.",
            code="provider_rate_limited",
            details=details,
            retry_after=_whole_seconds(wait),
        )
        return Fault(answer, Verdict.LIMITED, _soon(wait, None))
    if 400 <= status < 500 and status != _PROXY_AUTH:
        refused = _refused(status)(
            words or f"The provider '{slug}' refused the request with status {status}.",
            code="context_length_exceeded" if _TOO_LONG.search(message) else _code_of(refusal, endpoint),
            param=scrubbed(refusal.param, endpoint) if refusal.param else None,
            details=details,
            retry_after=_whole_seconds(wait),
        )
        if refusal.type:
            refused.error_type = scrubbed(refusal.type, endpoint)
        return Fault(refused, Verdict.REFUSED_REQUEST)
    answer = ProviderError(
        words or f"The provider '{slug}' failed with status {status}. Try again.",
        details=details,
        retry_after=_whole_seconds(wait),
    )
    return Fault(answer, Verdict.FAILED, _soon(wait, 0.0) if status in _RETRIED_STATUSES else None)


def _refused(status: int) -> Callable[..., NoaError]:
    """The class of the client's error. A 401 would be about the client's own key, and this is about its request."""
    if status in _FINAL_STATUSES:
        return errors.of_status(status)
    return partial(ProviderRefused, status=403 if status == 401 else status)


def _code_of(refusal: Refusal, endpoint: RemoteEndpoint) -> str:
    return scrubbed(refusal.code or refusal.type or "provider_error", endpoint)


def _details(status: int, refusal: Refusal, endpoint: RemoteEndpoint) -> dict[str, Any]:
    details: dict[str, Any] = {"provider": endpoint.provider, "status": status}
    if refusal.code or refusal.type:
        details["provider_code"] = _code_of(refusal, endpoint)
    if refusal.type:
        details["provider_type"] = scrubbed(refusal.type, endpoint)
    return details


def in_answer(error: UpstreamError | ErrorEvent | ProviderError, endpoint: RemoteEndpoint) -> Fault:
    """The fault of an answer that began well: it broke, or an error took its place.

    Some servers refuse a request within an answer of status 200: that is not a failure of theirs.
    """
    if isinstance(error, UpstreamError):
        return Fault(cut(error, endpoint), Verdict.FAILED)
    if isinstance(error, ProviderError):  # of a translation, which cannot read the answer
        return Fault(error, Verdict.FAILED)
    refusal = refusals.of_object(error.error)
    if refusal.status is not None and refusal.status < 500 and refusal.status not in (401, _PROXY_AUTH):
        return _of_refusal(refusal.status, refusal, endpoint, None)
    message = scrubbed(refusal.message or "something went wrong", endpoint)
    answer = ProviderError(
        f"The provider '{endpoint.provider}' reports: {message}",
        code="malformed_answer" if refusal.code == "malformed_answer" else None,
        details={"provider": endpoint.provider},
    )
    return Fault(answer, Verdict.FAILED)


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

"""Converts failed requests to a provider to errors that name the provider and the remedy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from models_app.domain.errors import (
    ModelNotFound,
    NoaError,
    ProviderAuthFailed,
    ProviderError,
    RateLimited,
)
from models_app.domain.traffic.redaction import redacted
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.wire.http import AddressNotAllowed

# A longer wait is capped to a day.
_MAX_RETRY_AFTER = 86_400


def of_status(endpoint: RemoteEndpoint, status: int, headers: Mapping[str, str], body: bytes) -> NoaError:
    """The error for an answer with an error status."""
    slug = endpoint.provider
    message = message_of(endpoint, body)
    details = {"provider": slug, "status": status}
    if status in (401, 403):
        what = (
            f"'{slug}' does not accept the API key that NOA has for it{_quoted(message)}. Give it another key."
            if endpoint.api_key
            else f"'{slug}' requires an API key, and NOA has none for it{_quoted(message)}. Give the provider one."
        )
        return ProviderAuthFailed(what, details=details)
    if status == 404:
        return ModelNotFound(
            f"'{slug}' has no such model or path{_quoted(message)}. Check the name of the model and the"
            " provider's base URL.",
            code="provider_model_not_found",
            details=details,
        )
    if status == 429:
        return RateLimited(
            f"'{slug}' limits the rate or the quota{_quoted(message)}. Try again later, or check its account.",
            code="provider_rate_limited",
            details=details,
            retry_after=_retry_after(headers),
        )
    if 300 <= status < 400:
        return _redirected(endpoint, headers, details)
    return ProviderError(
        f"'{slug}' answered with status {status}{_quoted(message)}. "
        + ("Try again later." if status >= 500 else "Check its base URL and its kind."),
        details=details,
    )


def _redirected(endpoint: RemoteEndpoint, headers: Mapping[str, str], details: dict[str, Any]) -> NoaError:
    place = redacted(headers.get("Location", "nowhere"), secret=endpoint.api_key, longest=200)
    return ProviderError(
        f"'{endpoint.provider}' answered with a redirect to {place}, which NOA does not follow. Correct the"
        " provider's base URL.",
        code="provider_redirected",
        details=details,
    )


def of_connection(endpoint: RemoteEndpoint, error: Exception, seconds: float) -> NoaError:
    """The error for a connection without a complete answer. `seconds` is the time limit that applied."""
    slug = endpoint.provider
    details = {"provider": slug}
    if isinstance(error, TimeoutError):
        missing = (
            "did not accept a connection in time"
            if isinstance(error, aiohttp.ConnectionTimeoutError)
            else f"did not answer within {seconds:g} s"
        )
        return ProviderError(
            f"'{slug}' {missing}. Check that its server runs and can be reached.",
            code="provider_timeout",
            details=details,
        )
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressNotAllowed):
        return ProviderError(f"'{slug}' cannot be reached: {cause}", code="address_not_allowed", details=details)
    reason = redacted(_reason(error, cause), secret=endpoint.api_key, longest=200)
    return ProviderError(
        f"'{slug}' cannot be reached: {reason}. Check its base URL, and that its server runs.",
        code="provider_unreachable",
        details=details,
    )


def _reason(error: Exception, cause: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it closed the connection before its answer was complete"
    return str(cause) or type(cause).__name__


def malformed(endpoint: RemoteEndpoint, what: str) -> NoaError:
    return ProviderError(
        f"'{endpoint.provider}' gave a malformed answer: {what}. Check that its base URL leads to an"
        f" API of the kind '{endpoint.kind}'.",
        code="malformed_answer",
        details={"provider": endpoint.provider},
    )


def message_of(endpoint: RemoteEndpoint, body: bytes) -> str:
    """The message in an error's body, in any of the usual shapes; '' when there is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:2000].decode("utf-8", "replace").strip()
        # An HTML page does not explain the error.
        return "" if text.startswith("<") else redacted(text, secret=endpoint.api_key, longest=200)
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or ""
    text = error if isinstance(error, str) else orjson.dumps(error).decode()
    return redacted(text, secret=endpoint.api_key)


def _quoted(message: str) -> str:
    return f": {message.rstrip(' .!')}" if message else ""


def _retry_after(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Retry-After", "")
    if not text.isascii() or not text.isdigit():
        return None
    return min(int(text[:9]), _MAX_RETRY_AFTER)

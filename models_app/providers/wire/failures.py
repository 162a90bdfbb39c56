"""Converts failed requests to a provider to errors that name the provider and the remedy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from models_app.domain.errors import (
    ModelNotFound,
    NoaError,
    ProviderAuthFailed,
    ProviderError,
    RateLimited,
)
from models_app.domain.traffic.redaction import redacted
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.wire import refusals
from models_app.providers.wire.http import AddressNotAllowed

# A longer wait is capped to a day.
_MAX_RETRY_AFTER = 86_400


def of_status(endpoint: RemoteEndpoint, status: int, headers: Mapping[str, str], body: bytes) -> NoaError:
    """The error for an answer with an error status."""
    slug = endpoint.provider
    refusal = refusals.read(body)
    message = redacted(refusal.message, secret=endpoint.api_key)
    details = {"provider": slug, "status": status}
    if refusals.is_about_credentials(status, refusal) or (status == 403 and not endpoint.api_key):
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
        f"'{slug}' answered with status {status}{_quoted(message)}. {_remedy(status)}",
        details=details,
    )


def _remedy(status: int) -> str:
    if status >= 500:
        return "Try again later."
    if status == 402:
        return "Check the credit of its account."
    if status in (401, 403):
        return "Check what its API key is permitted to use."
    return "Check its base URL and its kind."


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


def _quoted(message: str) -> str:
    return f": {message.rstrip(' .!')}" if message else ""


def _retry_after(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Retry-After", "")
    if not text.isascii() or not text.isdigit():
        return None
    return min(int(text[:9]), _MAX_RETRY_AFTER)

"""Errors in the format of Anthropic's API."""

from __future__ import annotations

from typing import Any

from models_app.domain.errors import NoaError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# A provider's own type is kept if clients know it.
_KNOWN = frozenset({*_TYPES.values(), "api_error"})


def anthropic_error(error: NoaError, request_id: str | None = None) -> dict[str, Any]:
    """The error object. `code` and `param` are additions of NOA: clients of this API ignore them."""
    kind = error.details.get("provider_type")
    if kind not in _KNOWN:
        kind = _TYPES.get(error.http_status, "invalid_request_error" if error.http_status < 500 else "api_error")
    payload: dict[str, Any] = {"type": kind}
    payload |= {"message": error.message, "code": error.code, "param": error.param}
    return {"type": "error", "error": payload, "request_id": request_id}

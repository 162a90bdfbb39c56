"""Converts exceptions to error responses of the management API, in this module only."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from models_app.domain import errors

logger = logging.getLogger(__name__)

_BY_STATUS: dict[int, tuple[type[errors.NoaError], str]] = {
    400: (errors.InvalidRequest, "invalid_request"),
    401: (errors.Unauthenticated, "invalid_api_key"),
    403: (errors.PermissionDenied, "permission_denied"),
    404: (errors.NotFound, "not_found"),
    405: (errors.InvalidRequest, "method_not_allowed"),
    406: (errors.InvalidRequest, "not_acceptable"),
    413: (errors.RequestTooLarge, "request_too_large"),
    415: (errors.InvalidRequest, "unsupported_media_type"),
    429: (errors.RateLimited, "rate_limited"),
}

# Paths of the gateway, after any beginning.
_OF_GATEWAY = re.compile(
    r"/*(?:v1/+)*((?:chat/)?completions|embeddings|responses|messages(?:/count_tokens)?|models(?:/[^/]+)?)/?"
)

_DATABASE_AWAY = errors.Unavailable(
    "The database does not answer, or has been busy for too long. Try again in a moment.",
    code="database_unavailable",
    retry_after=5,
)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """The JSON error response of any exception of a view."""
    request_id = getattr(context["request"], "noa_request_id", None)
    if isinstance(error, errors.NoaError):
        return _respond(error, error.http_status, request_id)
    if isinstance(error, exceptions.ValidationError):
        return _respond(_from_validation(error), 400, request_id)
    if isinstance(error, exceptions.APIException):
        kind, code = _BY_STATUS.get(error.status_code, (errors.NoaError, "internal_error"))
        response = _respond(kind(str(error.detail), code=code), error.status_code, request_id)
        if isinstance(error, exceptions.MethodNotAllowed):
            response["Allow"] = ", ".join(context["view"].allowed_methods)
        return response
    if isinstance(error, Http404):
        return _respond(errors.NotFound("There is nothing at this address."), 404, request_id)
    if isinstance(error, RequestDataTooBig):
        return _respond(errors.RequestTooLarge("The body is too large."), 413, request_id)
    logger.error("unhandled error in the API, request %s", request_id, exc_info=error)
    if isinstance(error, OperationalError | InterfaceError):
        return _respond(_DATABASE_AWAY, _DATABASE_AWAY.http_status, request_id)
    return _respond(_internal_error(request_id), 500, request_id)


def _internal_error(request_id: str | None) -> errors.NoaError:
    return errors.NoaError(f"Internal error. The server log has the details under request {request_id}.")


def _respond(error: errors.NoaError, status: int, request_id: str | None) -> Response:
    response = Response(error.body(request_id), status=status)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    for name, value in _retry_after(error).items():
        response[name] = value
    return response


def _from_validation(error: exceptions.ValidationError) -> errors.InvalidRequest:
    """The first problem becomes the message; all of them are in the details."""
    details = error.get_full_details()
    problems = _flatten(details)
    param, message = problems[0]
    sentence = f"{param}: {message}" if param else message
    return errors.InvalidRequest(
        sentence, param=param or None, details={"problems": [list(problem) for problem in problems]}
    )


def _flatten(details: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        return [(path, str(details["message"]))]
    if isinstance(details, dict):
        return [
            problem
            for name, value in details.items()
            for problem in _flatten(value, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
        ]
    return [problem for item in details for problem in _flatten(item, path)]


def _plain(request: HttpRequest, error: errors.NoaError) -> JsonResponse:
    body = error.body(getattr(request, "noa_request_id", None))
    return JsonResponse(body, status=error.http_status, headers=_retry_after(error))


def _retry_after(error: errors.NoaError) -> dict[str, str]:
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}


def _shows_pages(request: HttpRequest) -> bool:
    """Whether the error is for a browser in the console; everything else is answered with JSON."""
    return request.path.startswith(reverse("admin:index")) and "text/html" in request.headers.get("Accept", "")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if _shows_pages(request):
        return defaults.page_not_found(request, exception)
    return _plain(request, errors.NotFound(f"There is nothing at this address. {_hint(request.path_info)}"))


def _hint(path: str) -> str:
    """For clients of the gateway whose base URL is wrong: without `/v1`, with a slash at its end, or with both."""
    found = _OF_GATEWAY.fullmatch(path)
    if found is None:
        return "See /api/docs."
    return (
        f"Did you mean /v1/{found[1][:100]}? The base URL of OpenAI's clients ends with '/v1', that of Anthropic's "
        "clients with the host, and neither with a slash."
    )


def bad_request(request: HttpRequest, exception: SuspiciousOperation) -> HttpResponse:
    """Django's handler400."""
    if _shows_pages(request):
        return defaults.bad_request(request, exception)
    return _plain(request, errors.InvalidRequest("The request is malformed."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    if _shows_pages(request):
        return defaults.permission_denied(request, exception)
    return _plain(request, errors.PermissionDenied("This is not allowed."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500, called while the exception is handled. A database that is away is no internal error."""
    error = sys.exception()
    if isinstance(error, OperationalError | InterfaceError):
        return unavailable(request, _DATABASE_AWAY)
    if isinstance(error, errors.Unavailable | errors.RateLimited):
        # Raised by a form, such as that of the log-in; Django would log it as an internal error.
        answer = unavailable(request, error)
        answer._has_been_logged = True  # type: ignore[attr-defined]
        return answer
    if _shows_pages(request):
        return defaults.server_error(request)
    return _plain(request, _internal_error(getattr(request, "noa_request_id", None)))


def unavailable(request: HttpRequest, error: errors.NoaError) -> HttpResponse:
    """A page with the reason for a browser in the console, otherwise JSON. Neither needs the database."""
    if not _shows_pages(request):
        return _plain(request, error)
    page = render_to_string("503.html", {"message": error.message, "seconds": error.retry_after})
    return HttpResponse(page, status=error.http_status, headers=_retry_after(error))

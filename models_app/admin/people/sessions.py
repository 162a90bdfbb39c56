"""Tells the entrance of the web process which sessions belong to signed-in users."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from models_app.domain import request_context


class RecognizedSessionMiddleware:
    """Runs no query: only a user that the view has read is recognized."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        user = getattr(request, "_cached_user", None)
        if user is not None and user.is_authenticated and user.is_staff:
            request_context.place.get().recognize()
        return response

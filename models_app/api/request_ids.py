"""Assigns an id to every request through Django: the client's own if it is well formed, otherwise a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from models_app.domain import request_context

_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RequestIdMiddleware:
    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.headers.get("X-Request-ID", "")
        request_id = sent if _WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex
        request.noa_request_id = request_id  # type: ignore[attr-defined]
        token = request_context.request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            request_context.request_id.reset(token)
        response.headers["X-Request-ID"] = request_id
        return response

"""What all views of the management API have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
from django.http import HttpRequest, HttpResponseBase
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import answers
from models_app.api.authentication import actor_of, caller_of
from models_app.api.permissions import check_model
from models_app.api.renderers import OrjsonRenderer
from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.scopes import Scope
from models_app.models import IdempotencyKey
from models_app.services.coordination import audit, idempotency

# What a column for ids holds in every database.
_MAX_ID = 2**63 - 1
# A larger body is written down by its size only: to look for secrets in megabytes takes long.
_MAX_AUDITED_BYTES = 64 * 1024
_IDEMPOTENCY_HEADER = "Idempotency-Key"


class ManagementView(APIView):
    """Every view derives from it. `scopes` names the scope of a method where the default does not fit.

    Calls that change something get an audit row, whatever becomes of them, and a POST with an `Idempotency-Key` is
    done once. A view may set `audit_subject` when neither the path nor the body names what it is about.
    """

    scopes: ClassVar[Mapping[str, Scope | None]] = {}
    audit_subject = ""
    _actor = ""
    _body: Any = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            self._write_down(response)
        return response

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if request.user is not None and request.user.is_authenticated:
            self._actor = actor_of(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _refuse_what_no_database_takes(request, kwargs)
        handler = getattr(self, (request.method or "").lower(), None)
        if request.method in SAFE_METHODS or handler is None:
            return
        # Read here, so that a body that cannot be read is refused by every operation in the same way.
        self._body = request.data
        if "key" in kwargs:
            check_model(request, key=kwargs["key"])
        if request.method == "POST":
            answers.seconds_to_wait(request)
            key = request.headers.get(_IDEMPOTENCY_HEADER)
            if key is not None:
                # This object serves one request; DRF looks its handler up on it next.
                setattr(self, request.method.lower(), functools.partial(self._once, handler, key))

    def _once(
        self,
        handler: Callable[..., Response],
        key: str,
        request: Request,
        /,  # a path may have a `key` too
        *args: Any,
        **kwargs: Any,
    ) -> Response:
        row, is_new = idempotency.claim(
            caller=caller_of(request),
            key=key,
            operation=self.operation_id,
            digest=idempotency.digest_of(target=_target(request), body=request.data),
        )
        if not is_new:
            self.headers["Idempotent-Replayed"] = "true"
            return _answered_before(request, row)
        request.noa_idempotency = row  # type: ignore[attr-defined]
        try:
            response = handler(request, *args, **kwargs)
        except BaseException:
            idempotency.release(row=row)
            raise
        body = orjson.loads(OrjsonRenderer().render(response.data) or b"null")
        location = response.headers.get("Location")
        idempotency.keep(row=row, status=response.status_code, body=body, location=location)
        return response

    @property
    def operation_id(self) -> str:
        """The operation's name in the OpenAPI document; empty for a method that the view has not."""
        handler = getattr(type(self), (self.request.method or "").lower(), None)
        make: Any = getattr(handler, "kwargs", {}).get("schema")
        if make is None:
            return ""
        schema = make()
        schema.view, schema.method = self, self.request.method
        return str(schema.get_operation_id())

    def _write_down(self, response: Any) -> None:
        request = self.request
        audit.record(
            channel=audit.Channel.API,
            actor=self._actor,
            action=self.operation_id,
            status=response.status_code,
            subject=self.audit_subject or self._named(),
            arguments=self._audited_body(),
            error_code=_error_code(response),
            method=request.method or "",
            path=request.path,
            request_id=getattr(request, "noa_request_id", ""),
            client=request.META.get("REMOTE_ADDR") or "",
            job_id=getattr(request, "noa_job_id", None),
        )

    def _audited_body(self) -> dict[str, Any]:
        size = str(self.request.META.get("CONTENT_LENGTH") or "0")
        if not size.isdigit() or int(size) > _MAX_AUDITED_BYTES:
            return {"left_out": "too large", "bytes": size[:20]}
        return self._body if isinstance(self._body, dict) else {}

    def _named(self) -> str:
        """What the call is about, from the path or else from the body."""
        body = self._body if isinstance(self._body, dict) else {}
        named = [*self.kwargs.values(), *(body.get(word) for word in ("key", "name", "slug"))]
        if "provider" in body and "model" in body:
            named.append(f"{body['provider']}:{body['model']}")
        return next((str(name) for name in named if name), "")


def _error_code(response: Any) -> str:
    return str(response.data["error"]["code"]) if response.status_code >= 400 else ""


def _answered_before(request: Request, row: IdempotencyKey) -> Response:
    """What the first request was answered; of a job, how it is now."""
    if row.job is not None:
        return answers.answer_with_job(request, row.job, created=False)
    location = row.answer["location"]
    headers = {"Location": location} if location else None
    return Response(row.answer["body"], status=row.status, headers=headers)


def _target(request: Request) -> str:
    """Path and query; how long a caller waits does not change what it asks for."""
    parameters = request.query_params.copy()
    parameters.pop("wait", None)
    return f"{request.path}?{parameters.urlencode()}"


def _refuse_what_no_database_takes(request: Request, kwargs: Mapping[str, Any]) -> None:
    sent = request.query_params.lists()
    if any("\0" in name or any("\0" in str(text) for text in texts) for name, texts in sent):
        raise InvalidRequest("A query parameter holds a NUL character; send text.")
    for value in kwargs.values():
        if (isinstance(value, str) and "\0" in value) or (isinstance(value, int) and value > _MAX_ID):
            raise NotFound("There is nothing at this address. See /api/docs.")

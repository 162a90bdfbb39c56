"""The base class of all viewsets of the management API."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from models_app.api import answers, query
from models_app.api.authentication import actor_of, caller_of, client_of
from models_app.api.filtersets import StrictFilterBackend
from models_app.api.permissions import check_binding
from models_app.api.renderers import OrjsonRenderer
from models_app.api.schema import ManagementMetadata, ManagementSchema
from models_app.domain.errors import InvalidRequest, NotFound
from models_app.models import IdempotencyKey
from models_app.services.coordination import audit, idempotency
from models_app.services.jobs import waiting

# The maximum of an id column in every database.
_MAX_ID = 2**63 - 1
# The audit log stores only the size of a larger body: searching megabytes for secrets takes long.
_MAX_AUDITED_BYTES = 64 * 1024
_IDEMPOTENCY_HEADER = "Idempotency-Key"


class ManagementViewSet(GenericViewSet[Any]):
    """Rights, audit, idempotency keys and strict parameters for every viewset.

    The right of each operation is its row in `models_app.domain.rights`, by operation id. Each change, successful or
    refused, gets an audit row, and a POST with an `Idempotency-Key` runs once. A viewset sets `audit_subject` when
    neither the path nor the body has the subject.

    An action is a list when it is named `list`, or when its `@action` has a `pagination_class`. A list accepts the
    parameters of its filters and of its pagination, and refuses others.
    """

    schema = ManagementSchema()
    metadata_class = ManagementMetadata
    filter_backends: Any = (StrictFilterBackend,)
    # The URL name of the list route; the router fills in the basename.
    list_name: ClassVar[str] = "{basename}s"
    audit_subject = ""
    _actor = ""
    _body: Any = None
    _places: contextlib.ExitStack

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with contextlib.ExitStack() as self._places:
            response = super().dispatch(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            self._record_audit(response)
        return response

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if request.user is not None and request.user.is_authenticated:
            self._actor = actor_of(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _refuse_unstorable(request, kwargs)
        method = self._action_method
        if method is None:
            return
        if request.method not in SAFE_METHODS:
            # Parsed here, so that every operation refuses an unreadable body in the same way.
            self._body = request.data
        check_binding(request, self.operation_id, kwargs)
        if request.method in SAFE_METHODS and self._is_list(method):
            query.refuse_unknown(request, self.known_parameters())
        if request.method == "POST":
            self._prepare_post(request)

    def _prepare_post(self, request: Request) -> None:
        if answers.seconds_to_wait(request):
            # Before any work: a caller that is refused has created nothing.
            self._places.enter_context(waiting.room.place(caller_of(request)))
        key = request.headers.get(_IDEMPOTENCY_HEADER)
        if key is not None:
            # This object serves one request, and DRF looks up its handler next.
            setattr(self, "post", functools.partial(self._once, getattr(self, "post"), key))  # noqa: B009, B010

    def _once(
        self,
        handler: Callable[..., Response],
        key: str,
        request: Request,
        /,  # a path can have a `key` too
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
            return _replay(request, row)
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

    # For subclasses

    def validated(self, serializer: type[BaseSerializer[Any]], **options: Any) -> dict[str, Any]:
        """The fields of the body. Raises ValidationError, which names the invalid field."""
        body = serializer(data=self.request.data, **options)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def paginated(self, rows: Any, represent: Callable[[Any], Any]) -> Response:
        """One page of the rows that match the filters."""
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response([represent(row) for row in page or ()])

    # Parameters

    def list_parameters(self) -> list[OpenApiParameter]:
        """The query parameters of the present action if it is a list; otherwise none."""
        if not self._is_list(self._action_method):
            return []
        filters = [parameter for backend in self.filter_backends for parameter in backend().parameters(self)]
        return [*filters, *getattr(self.pagination_class, "parameters", ())]

    def known_parameters(self) -> list[str]:
        return [parameter.name for parameter in self.list_parameters()]

    @property
    def _action_method(self) -> Any:
        """The method of the present action; None for OPTIONS and for methods that the path does not support."""
        return getattr(type(self), self.action or "", None)

    def _is_list(self, method: Any) -> bool:
        return self.action == "list" or "pagination_class" in getattr(method, "kwargs", ())

    @property
    def operation_id(self) -> str:
        """The operation's id in the OpenAPI document; empty for a method that the path does not support."""
        return operation_id(type(self), self.action or "")

    # Audit

    def _record_audit(self, response: Any) -> None:
        request = self.request
        audit.record(
            channel=audit.Channel.API,
            actor=self._actor,
            action=self.operation_id,
            status=response.status_code,
            subject=self.audit_subject or self._default_subject(),
            arguments=self._audited_body(),
            error_code=_error_code(response),
            method=request.method or "",
            path=request.path,
            request_id=getattr(request, "noa_request_id", ""),
            client=client_of(request),
            job_id=getattr(request, "noa_job_id", None),
        )

    def _audited_body(self) -> dict[str, Any]:
        size = str(self.request.META.get("CONTENT_LENGTH") or "0")
        if not size.isdigit() or int(size) > _MAX_AUDITED_BYTES:
            return {"left_out": "too large", "bytes": size[:20]}
        return self._body if isinstance(self._body, dict) else {}

    def _default_subject(self) -> str:
        """The subject of the call: from the path, otherwise from the body."""
        body = self._body if isinstance(self._body, dict) else {}
        names = [*self.kwargs.values(), *(body.get(word) for word in ("key", "name", "slug"))]
        if "provider" in body and "model" in body:
            names.append(f"{body['provider']}:{body['model']}")
        return next((str(name) for name in names if name), "")


@functools.cache
def operation_id(viewset: type[ManagementViewSet], action: str) -> str:
    """The operation's id in the OpenAPI document, the name of its row in `models_app.domain.rights`."""
    make: Any = getattr(getattr(viewset, action, None), "kwargs", {}).get("schema")
    if make is None:
        return ""
    schema = make()
    schema.view = viewset(request=None, kwargs={})
    return str(schema.get_operation_id())


def _error_code(response: Any) -> str:
    return str(response.data["error"]["code"]) if response.status_code >= 400 else ""


def _replay(request: Request, row: IdempotencyKey) -> Response:
    """The stored response to the first request; for a job, its present state."""
    if row.job is not None:
        return answers.answer_with_job(request, row.job, created=False)
    location = row.answer["location"]
    headers = {"Location": location} if location else None
    return Response(row.answer["body"], status=row.status, headers=headers)


def _target(request: Request) -> str:
    """Path and query without `wait`, which does not change the effect of a request."""
    parameters = request.query_params.copy()
    parameters.pop("wait", None)
    return f"{request.path}?{parameters.urlencode()}"


def _refuse_unstorable(request: Request, kwargs: Mapping[str, Any]) -> None:
    """Raises InvalidRequest or NotFound for NUL characters and numbers beyond 64 bits, which no database stores."""
    parameters = request.query_params.lists()
    if any("\0" in name or any("\0" in str(text) for text in texts) for name, texts in parameters):
        raise InvalidRequest("A query parameter contains a NUL character; remove it.")
    for value in kwargs.values():
        if (isinstance(value, str) and "\0" in value) or (isinstance(value, int) and value > _MAX_ID):
            raise NotFound("There is nothing at this address. See /api/docs.")

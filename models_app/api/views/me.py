"""The caller."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import KeyPrincipal, actor_of, scopes_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.keys import MeOutput
from models_app.api.views.base import ManagementViewSet


class MeViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="who_am_i",
        summary="Get the caller's rights",
        tags=["api keys"],
        responses={200: MeOutput} | ERRORS,
    )
    def retrieve(self, request: Request) -> Response:
        """The rights of the calling key or session."""
        query.refuse_unknown(request, ())
        user: Any = request.user
        key = user.key if isinstance(user, KeyPrincipal) else None
        return Response(
            {
                "kind": "api_key" if key else "session",
                "name": key.name if key else actor_of(request).removeprefix("user:"),
                "key_id": key.key_id if key else None,
                "scopes": sorted(scopes_of(request.user)),
                "allowed_models": key.allowed_models if key else [],
                "expires_at": key.expires_at if key else None,
            }
        )

"""Export and import of the whole registry."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.parsers import json_object
from models_app.api.schema import ERRORS
from models_app.api.serializers.models import ImportedOutput
from models_app.api.serializers.registry_file import DOCUMENT
from models_app.api.views.base import ManagementViewSet
from models_app.domain.catalog import registry_file
from models_app.services.registry import exporting, importing
from models_app.services.registry.importing import Mode

# Sorted names: two exports of the same registry are identical except for `exported_at`.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class RegistryFileViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="export_registry",
        summary="Export the registry",
        tags=["models"],
        responses={(200, "application/json"): DOCUMENT} | ERRORS,
    )
    @action(detail=False, url_path="export", url_name="export")
    def export_registry(self, request: Request) -> Response:
        """The whole registry as one JSON document, without secrets, history and loaded models."""
        query.refuse_unknown(request, ())
        return Response(
            orjson.dumps(exporting.export(), option=_OPTIONS),
            headers={"Content-Disposition": 'attachment; filename="noa-registry.json"'},
        )

    @extend_schema(
        operation_id="import_registry",
        summary="Import a registry",
        tags=["models"],
        parameters=[
            OpenApiParameter(
                "mode",
                {"type": "string", "enum": [*Mode], "default": "merge"},
                description="`merge` keeps models that the document does not name; `replace` removes them.",
            ),
            OpenApiParameter("dry_run", bool, description="`true`: report the changes without making them."),
        ],
        request={"application/json": DOCUMENT},
        responses={200: ImportedOutput} | ERRORS,
    )
    @action(detail=False, methods=["post"], url_path="import", url_name="import")
    def import_registry(self, request: Request) -> Response:
        """Import an exported registry, completely or not at all; the error of a wrong entry names its place.

        Fields that an entry does not have do not change. The document has no secrets of providers: enter them
        afterwards. Files of local models are searched when the models are loaded.
        """
        query.refuse_unknown(request, ("mode", "dry_run"))
        mode = Mode(query.choice(request, "mode", [*Mode]) or Mode.MERGE)
        dry_run = query.flag(request, "dry_run") or False
        report = importing.take_in(
            document=registry_file.parse(json_object(request)),
            mode=mode,
            dry_run=dry_run,
            actor=actor_of(request),
        )
        return Response({"dry_run": dry_run, **asdict(report)})

"""The whole registry, out and in."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.parsers import json_object
from models_app.api.schema import ERRORS
from models_app.api.serializers.exchange import DOCUMENT
from models_app.api.serializers.models import ImportedOutput
from models_app.api.views.base import ManagementView
from models_app.domain.catalog import registry_file
from models_app.domain.scopes import Scope
from models_app.services.registry import exporting, importing
from models_app.services.registry.importing import Mode

# Names in one order: two exports of the same registry are the same bytes but for their time.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class ExportRegistry(ManagementView):
    @extend_schema(
        operation_id="export_registry",
        tags=["models"],
        responses={(200, "application/json"): DOCUMENT} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """The whole registry as one JSON document, without secrets, history and what is loaded."""
        query.refuse_unknown(request, ())
        return Response(
            orjson.dumps(exporting.export(), option=_OPTIONS),
            headers={"Content-Disposition": 'attachment; filename="noa-registry.json"'},
        )


class ImportRegistry(ManagementView):
    scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="import_registry",
        tags=["models"],
        parameters=[
            OpenApiParameter(
                "mode",
                {"type": "string", "enum": list(Mode), "default": "merge"},
                description="`merge` leaves what the document does not name; `replace` takes it out.",
            ),
            OpenApiParameter("dry_run", bool, description="`true`: say what would be done, and do nothing."),
        ],
        request={"application/json": DOCUMENT},
        responses={200: ImportedOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Take in an exported registry, whole or not at all; a wrong entry is named by its place.

        A field that an entry does not name stays as it is. Secrets of providers are not in the document: enter them
        afterwards. Files of local models are looked for when they are loaded.
        """
        query.refuse_unknown(request, ("mode", "dry_run"))
        mode = Mode(query.choice(request, "mode", list(Mode)) or Mode.MERGE)
        dry_run = query.flag(request, "dry_run") or False
        report = importing.take_in(
            document=registry_file.parse(json_object(request)),
            mode=mode,
            dry_run=dry_run,
            actor=actor_of(request),
        )
        return Response({"dry_run": dry_run, **asdict(report)})

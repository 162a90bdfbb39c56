"""Profiles: measured benchmarks of models."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of, key_of
from models_app.api.filtersets import AllProfileFilters, ProfileFilters
from models_app.api.pagination import NewestFirst
from models_app.api.permissions import check_model
from models_app.api.schema import ERRORS
from models_app.api.serializers.profiles import (
    BaselineInput,
    CompareOutput,
    ProfileDetailOutput,
    ProfileInput,
    ProfileListOutput,
    ProfileOutput,
    represent_profile,
    represent_profile_with_samples,
)
from models_app.api.views.base import ManagementViewSet
from models_app.domain.errors import InvalidRequest
from models_app.models import ProfileRun
from models_app.services.profiling import comparing, profiling, reports
from models_app.services.profiling.profiling import ProfileSettings

_JSON_ERRORS: dict[Any, Any] = {(status, "application/json"): answer for status, answer in ERRORS.items()}
_MOST_TOLERANCE = 10.0


class ProfilePages(NewestFirst):
    word = "profiles"
    ordering = "started_at"


class ModelProfileViewSet(ManagementViewSet):
    filterset_class = ProfileFilters
    pagination_class = ProfilePages

    @extend_schema(
        operation_id="list_profiles_of_model",
        summary="List profiles of a model",
        tags=["profiles"],
        responses={200: ProfileListOutput} | ERRORS,
    )
    def list(self, request: Request, key: str) -> Response:
        """The profiles of a model, newest first."""
        return self.paginated(profiling.profiles(key=key), represent_profile)

    @extend_schema(
        operation_id="profile_model",
        summary="Profile a model",
        tags=["profiles"],
        request=ProfileInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def create(self, request: Request, key: str) -> Response:
        """Measure a loaded model with real requests. For a remote model they cost tokens."""
        query.refuse_unknown(request, ("wait",))
        settings = ProfileSettings(**self.validated(ProfileInput))
        job, created = profiling.request(key=key, wanted=settings, actor=actor_of(request), key_id=key_of(request))
        return answer_with_job(request, job, created=created)


class ProfileViewSet(ManagementViewSet):
    filterset_class = AllProfileFilters
    pagination_class = ProfilePages
    list_name = "all-profiles"
    lookup_url_kwarg = "profile_id"
    lookup_value_converter = "uuid"

    @extend_schema(
        operation_id="list_profiles",
        summary="List profiles",
        tags=["profiles"],
        responses={200: ProfileListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """The profiles of all models, newest first."""
        return self.paginated(profiling.profiles(), represent_profile)

    @extend_schema(
        operation_id="get_profile",
        summary="Get a profile",
        tags=["profiles"],
        responses={200: ProfileDetailOutput} | ERRORS,
    )
    def retrieve(self, request: Request, profile_id: uuid.UUID) -> Response:
        """One profile with all its samples."""
        query.refuse_unknown(request, ())
        return Response(represent_profile_with_samples(profiling.get(profile_id=profile_id)))

    @extend_schema(
        operation_id="mark_baseline",
        summary="Mark a profile as the baseline",
        tags=["profiles"],
        request=BaselineInput,
        responses={200: ProfileOutput} | ERRORS,
    )
    def partial_update(self, request: Request, profile_id: uuid.UUID) -> Response:
        """Mark a complete profile as the baseline of later ones with the same settings, or remove the mark."""
        query.refuse_unknown(request, ())
        check_model(request, key=profiling.get(profile_id=profile_id).model.key)
        row = profiling.mark_baseline(profile_id=profile_id, **self.validated(BaselineInput))
        return Response(represent_profile(row))

    @extend_schema(
        operation_id="export_profile",
        summary="Export a profile",
        tags=["profiles"],
        parameters=[
            OpenApiParameter(
                "form",
                {"type": "string", "enum": ["csv", "json", "markdown"], "default": "json"},
                description="`csv`: a line for each sample; `markdown`: a report for people.",
            )
        ],
        responses={
            (200, "application/json"): ProfileDetailOutput,
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "text/markdown"): OpenApiTypes.STR,
        }
        | _JSON_ERRORS,
    )
    @action(detail=True, url_name="export-profile")
    def export(self, request: Request, profile_id: uuid.UUID) -> HttpResponseBase:
        """One profile as a file."""
        query.refuse_unknown(request, ("form",))
        form = query.choice(request, "form", ("csv", "json", "markdown")) or "json"
        row = profiling.get(profile_id=profile_id)
        if form == "csv":
            return _file(reports.as_csv(row), "csv", _name(row, "csv"))
        if form == "markdown":
            return _file(reports.as_markdown(row), "markdown", _name(row, "md"))
        return Response(
            represent_profile_with_samples(row),
            headers={"Content-Disposition": f'attachment; filename="{_name(row, "json")}"'},
        )

    @extend_schema(
        operation_id="compare_profiles",
        summary="Compare profiles",
        tags=["profiles"],
        parameters=[
            OpenApiParameter(
                "runs",
                {"type": "string", "maxLength": 4096, "pattern": r"^[^\x00]*$"},
                required=True,
                description="Two to eight, separated by commas: ids of profiles, or keys of models for the last "
                "complete profile of each. The first is the baseline.",
            ),
            OpenApiParameter(
                "tolerance",
                {"type": "number", "minimum": 0, "maximum": _MOST_TOLERANCE},
                description="The smallest relative difference that counts; by default `NOA_PROFILE_TOLERANCE`.",
            ),
            OpenApiParameter(
                "form",
                {"type": "string", "enum": ["json", "markdown"], "default": "json"},
                description="`markdown`: a report for people.",
            ),
        ],
        responses={
            (200, "application/json"): CompareOutput,
            (200, "text/markdown"): OpenApiTypes.STR,
        }
        | _JSON_ERRORS,
    )
    @action(detail=False, url_name="compare-profiles")
    def compare(self, request: Request) -> HttpResponseBase:
        """Profiles side by side, with a verdict for each figure."""
        query.refuse_unknown(request, ("runs", "tolerance", "form"))
        form = query.choice(request, "form", ("json", "markdown"))
        names = (query.text(request, "runs", longest=4096) or "").split(",")
        runs = comparing.runs_named(names=[name.strip() for name in names if name.strip()])
        found = comparing.compare(runs=runs, tolerance=_tolerance(request))
        if form == "markdown":
            text = reports.comparison_as_markdown(found)
            return _file(text, "markdown", "noa-profiles-compared.md")
        return Response(found | {"runs": [represent_profile(run) for run in runs]})


def _name(row: ProfileRun, ending: str) -> str:
    return f"noa-profile-{row.pk}.{ending}"


def _file(text: str, kind: str, name: str) -> HttpResponse:
    return HttpResponse(
        text,
        content_type=f"text/{kind}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _tolerance(request: Request) -> float | None:
    text = query.text(request, "tolerance")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST_TOLERANCE:
        raise InvalidRequest(f"'tolerance' must be a number from 0 to {_MOST_TOLERANCE:g}.", param="tolerance")
    return value

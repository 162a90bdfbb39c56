"""Measured benchmarks of models."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.names import KEY
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
from models_app.api.views.base import ManagementView
from models_app.domain.errors import InvalidRequest
from models_app.models import ProfileRun
from models_app.services.profiling import comparing, profiling, reports
from models_app.services.profiling.profiling import ProfileSettings

_JSON_ERRORS: dict[Any, Any] = {(status, "application/json"): answer for status, answer in ERRORS.items()}
_COMPLETE = OpenApiParameter("complete", bool, description="Complete ones, or not.")
_MOST_TOLERANCE = 10.0


class ModelProfile(ManagementView):
    @extend_schema(
        operation_id="profile_model",
        tags=["profiles"],
        request=ProfileInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request, key: str) -> Response:
        """Measure a loaded model with real requests. Of a provider's model, it costs tokens."""
        query.refuse_unknown(request, ("wait",))
        body = ProfileInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = profiling.request(
            key=key, wanted=ProfileSettings(**body.validated_data), actor=actor_of(request)
        )
        return answer_with_job(request, job, created=created)


class ModelProfileList(ManagementView):
    @extend_schema(
        operation_id="list_profiles_of_model",
        tags=["profiles"],
        parameters=[_COMPLETE, *NEWEST_FIRST],
        responses={200: ProfileListOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """The profiles of a model, newest first."""
        query.refuse_unknown(request, ("complete", "limit", "before"))
        return _listed(request, key)


class ProfileList(ManagementView):
    @extend_schema(
        operation_id="list_profiles",
        tags=["profiles"],
        parameters=[
            OpenApiParameter("model", KEY, description="Of the model with this key."),
            _COMPLETE,
            *NEWEST_FIRST,
        ],
        responses={200: ProfileListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """The profiles of all models, newest first."""
        query.refuse_unknown(request, ("model", "complete", "limit", "before"))
        return _listed(request, query.text(request, "model"))


def _listed(request: Request, key: str | None) -> Response:
    rows = profiling.profiles(key=key, complete=query.flag(request, "complete"))
    return newest_first(request, rows, word="profiles", represent=represent_profile, by="started_at")


class ProfileDetail(ManagementView):
    @extend_schema(
        operation_id="get_profile",
        tags=["profiles"],
        responses={200: ProfileDetailOutput} | ERRORS,
    )
    def get(self, request: Request, profile_id: uuid.UUID) -> Response:
        """One profile with all its samples."""
        query.refuse_unknown(request, ())
        return Response(represent_profile_with_samples(profiling.get(profile_id=profile_id)))

    @extend_schema(
        operation_id="mark_baseline",
        tags=["profiles"],
        request=BaselineInput,
        responses={200: ProfileOutput} | ERRORS,
    )
    def patch(self, request: Request, profile_id: uuid.UUID) -> Response:
        """Make a complete profile the baseline of later ones with the same settings, or no longer."""
        query.refuse_unknown(request, ())
        body = BaselineInput(data=request.data)
        body.is_valid(raise_exception=True)
        row = profiling.mark_baseline(profile_id=profile_id, **body.validated_data)
        return Response(represent_profile(row))


class ProfileExport(ManagementView):
    @extend_schema(
        operation_id="export_profile",
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
    def get(self, request: Request, profile_id: uuid.UUID) -> HttpResponseBase:
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


def _name(row: ProfileRun, ending: str) -> str:
    return f"noa-profile-{row.pk}.{ending}"


def _file(text: str, kind: str, name: str) -> HttpResponse:
    return HttpResponse(
        text,
        content_type=f"text/{kind}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


class ProfileComparison(ManagementView):
    @extend_schema(
        operation_id="compare_profiles",
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
                description="The least share that counts as a difference; else `NOA_PROFILE_TOLERANCE`.",
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
    def get(self, request: Request) -> HttpResponseBase:
        """Profiles side by side, with a verdict for each figure that may be "no difference shown"."""
        query.refuse_unknown(request, ("runs", "tolerance", "form"))
        form = query.choice(request, "form", ("json", "markdown"))
        names = (query.text(request, "runs", longest=4096) or "").split(",")
        runs = comparing.runs_named(names=[name.strip() for name in names if name.strip()])
        found = comparing.compare(runs=runs, tolerance=_tolerance(request))
        if form == "markdown":
            text = reports.comparison_as_markdown(found)
            return _file(text, "markdown", "noa-profiles-compared.md")
        return Response(found | {"runs": [represent_profile(run) for run in runs]})


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

"""Measured benchmarks of models."""

from __future__ import annotations

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.profiles import (
    ProfileDetailOutput,
    ProfileInput,
    ProfileListOutput,
    represent_profile,
    represent_profile_with_samples,
)
from models_app.api.views.base import ManagementView
from models_app.services import profiling
from models_app.services.profiling import ProfileSettings


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
        operation_id="list_profiles",
        tags=["profiles"],
        parameters=NEWEST_FIRST,
        responses={200: ProfileListOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """The profiles of a model, newest first."""
        query.refuse_unknown(request, ("limit", "before"))
        rows = profiling.profiles_of(key=key)
        return newest_first(
            request, rows, word="profiles", represent=represent_profile, by="started_at"
        )


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

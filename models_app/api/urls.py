"""Explicit paths, literal words first: a router would resolve `models/openai:gpt-4o/…` to the detail view."""

from __future__ import annotations

from django.urls import path, register_converter

from models_app.api.converters import ModelKeyConverter, ProviderConverter
from models_app.api.views import jobs, lifecycle, registry

register_converter(ModelKeyConverter, "modelkey")
register_converter(ProviderConverter, "provider")

app_name = "api"

urlpatterns = [
    path("models", registry.ModelList.as_view(), name="models"),
    path("models/loaded", registry.LoadedModels.as_view(), name="loaded"),
    path("models/current", registry.CurrentModel.as_view(), name="current"),
    path("models/load", lifecycle.Load.as_view(), name="load"),
    path("models/unload", lifecycle.Unload.as_view(), name="unload"),
    path("models/switch", lifecycle.Switch.as_view(), name="switch"),
    path("models/discover", lifecycle.Discover.as_view(), name="discover"),
    path("models/<modelkey:key>", registry.ModelDetail.as_view(), name="model"),
    path(
        "models/<provider:provider>", registry.ProviderModelList.as_view(), name="provider-models"
    ),
    path("jobs/<uuid:job_id>", jobs.JobDetail.as_view(), name="job"),
]

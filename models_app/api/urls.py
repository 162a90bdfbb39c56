"""Explicit paths, literal words first: a router would resolve `models/openai:gpt-4o/…` to the detail view."""

from __future__ import annotations

from django.urls import path, register_converter

from models_app.api.converters import ModelKeyConverter, ProviderConverter
from models_app.api.views import (
    access,
    audit,
    autoswitch,
    capabilities,
    events,
    exchange,
    jobs,
    keys,
    lifecycle,
    me,
    metrics,
    nodes,
    profiles,
    providers,
    reconciling,
    registry,
    routes,
    state,
    statistics,
    texts,
    usage,
    webhooks,
)

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
    path("models/save-state", state.SaveState.as_view(), name="save-state"),
    path("models/discover", lifecycle.Discover.as_view(), name="discover"),
    path("models/statistics", statistics.Statistics.as_view(), name="statistics"),
    path(
        "models/<modelkey:key>/capabilities/probe",
        capabilities.CapabilityProbe.as_view(),
        name="capability-probe",
    ),
    path(
        "models/<modelkey:key>/capabilities",
        capabilities.Capabilities.as_view(),
        name="capabilities",
    ),
    path("models/<modelkey:key>/history", lifecycle.History.as_view(), name="model-history"),
    path("models/<modelkey:key>/usage", usage.ModelUsage.as_view(), name="usage"),
    path("models/<modelkey:key>/profile", profiles.ModelProfile.as_view(), name="profile-model"),
    path("models/<modelkey:key>/profiles", profiles.ModelProfileList.as_view(), name="profiles"),
    path("models/export", exchange.ExportRegistry.as_view(), name="export"),
    path("models/import", exchange.ImportRegistry.as_view(), name="import"),
    path("models/<modelkey:key>/tags", registry.ModelTags.as_view(), name="model-tags"),
    path("models/<modelkey:key>/versions", registry.ModelVersions.as_view(), name="model-versions"),
    path(
        "models/<modelkey:key>/instances", registry.ModelInstances.as_view(), name="model-instances"
    ),
    path("models/<modelkey:key>", registry.ModelDetail.as_view(), name="model"),
    path(
        "models/<provider:provider>", registry.ProviderModelList.as_view(), name="provider-models"
    ),
    path("providers", providers.ProviderList.as_view(), name="providers"),
    path("providers/<provider:provider>", providers.ProviderDetail.as_view(), name="provider"),
    path(
        "providers/<provider:provider>/test",
        providers.ProviderTrial.as_view(),
        name="provider-test",
    ),
    path("jobs", jobs.JobList.as_view(), name="jobs"),
    path("jobs/<uuid:job_id>", jobs.JobDetail.as_view(), name="job"),
    path("jobs/<uuid:job_id>/cancel", jobs.JobCancel.as_view(), name="job-cancel"),
    path("routes", routes.RouteList.as_view(), name="routes"),
    path("routes/<str:name>", routes.RouteDetail.as_view(), name="route"),
    path("routes/<str:name>/changes", routes.RouteChangeList.as_view(), name="route-changes"),
    path("routes/<str:name>/auto-switch", autoswitch.RouteAutoSwitch.as_view(), name="auto-switch"),
    path(
        "routes/<str:name>/auto-switch/preview",
        autoswitch.RouteAutoSwitchPreview.as_view(),
        name="auto-switch-preview",
    ),
    path("routes/<str:name>/rollback", routes.RouteRollback.as_view(), name="route-rollback"),
    path("api-keys", keys.ApiKeyList.as_view(), name="api-keys"),
    path("api-keys/<str:key_id>", keys.ApiKeyDetail.as_view(), name="api-key"),
    path("audit", audit.AuditList.as_view(), name="audit"),
    path("me", me.Me.as_view(), name="me"),
    path("events", events.EventList.as_view(), name="events"),
    path("events/<int:event_id>", events.EventDetail.as_view(), name="event"),
    path("webhooks", webhooks.WebhookList.as_view(), name="webhooks"),
    path("webhooks/<uuid:webhook_id>", webhooks.WebhookDetail.as_view(), name="webhook"),
    path("webhooks/<uuid:webhook_id>/test", webhooks.WebhookTest.as_view(), name="webhook-test"),
    path(
        "webhooks/<uuid:webhook_id>/deliveries",
        webhooks.WebhookDeliveries.as_view(),
        name="webhook-deliveries",
    ),
    path("profiles", profiles.ProfileList.as_view(), name="all-profiles"),
    path("profiles/compare", profiles.ProfileComparison.as_view(), name="compare-profiles"),
    path(
        "profiles/<uuid:profile_id>/export",
        profiles.ProfileExport.as_view(),
        name="export-profile",
    ),
    path("nodes", nodes.NodeList.as_view(), name="nodes"),
    path("nodes/<str:name>", nodes.NodeDetail.as_view(), name="node"),
    path("nodes/<str:name>/drain", nodes.NodeDrain.as_view(), name="node-drain"),
    path("nodes/<str:name>/resume", nodes.NodeResume.as_view(), name="node-resume"),
    path("profiles/<uuid:profile_id>", profiles.ProfileDetail.as_view(), name="profile"),
    path("access-log", access.AccessList.as_view(), name="access-log"),
    path("text-rules", texts.TextRuleList.as_view(), name="text-rules"),
    path("text-rules/<int:rule_id>", texts.TextRuleDetail.as_view(), name="text-rule"),
    path("access-log/<str:request_id>/texts", texts.AccessTexts.as_view(), name="access-texts"),
    path("access-report", reconciling.AccessReport.as_view(), name="access-report"),
    path("access-log/<str:request_id>", access.AccessDetail.as_view(), name="access"),
    path("metrics/live", metrics.LiveMetrics.as_view(), name="live-metrics"),
    path("metrics/series", metrics.MetricsSeries.as_view(), name="metrics-series"),
    path("state", state.StateDetail.as_view(), name="state"),
    path("state/snapshots", state.SnapshotList.as_view(), name="snapshots"),
    path("state/snapshots/<str:name>", state.SnapshotDetail.as_view(), name="snapshot"),
    path(
        "state/snapshots/<str:name>/restore",
        state.SnapshotRestore.as_view(),
        name="snapshot-restore",
    ),
]

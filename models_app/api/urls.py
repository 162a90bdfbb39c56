"""The URLs of the management API: the router registers each noun; operations below another noun have explicit paths.

A provider's slug never contains ':' and a key always does, so `models/<provider>` and `models/<key>` are distinct.
Literal words such as `models/loaded` come first.
"""

from __future__ import annotations

from django.urls import path, register_converter

from models_app.api.converters import ModelKeyConverter, ProviderConverter
from models_app.api.routers import ManagementRouter
from models_app.api.views.access import AccessLogViewSet
from models_app.api.views.audit import AuditViewSet
from models_app.api.views.autoswitch import AutoSwitchViewSet
from models_app.api.views.capabilities import CapabilityViewSet
from models_app.api.views.events import EventViewSet
from models_app.api.views.jobs import JobViewSet
from models_app.api.views.keys import ApiKeyViewSet
from models_app.api.views.lifecycle import LifecycleViewSet
from models_app.api.views.me import MeViewSet
from models_app.api.views.metrics import MetricsViewSet
from models_app.api.views.nodes import NodeViewSet
from models_app.api.views.profiles import ModelProfileViewSet, ProfileViewSet
from models_app.api.views.providers import ProviderViewSet
from models_app.api.views.registry import ModelViewSet, ProviderModelViewSet
from models_app.api.views.registry_file import RegistryFileViewSet
from models_app.api.views.routes import RouteViewSet
from models_app.api.views.state import SnapshotViewSet, StateViewSet
from models_app.api.views.texts import TextRuleViewSet
from models_app.api.views.webhooks import WebhookViewSet

register_converter(ModelKeyConverter, "modelkey")
register_converter(ProviderConverter, "provider")

app_name = "api"

router = ManagementRouter()
router.register("models", ModelViewSet, "model")
router.register("models", LifecycleViewSet, "lifecycle")
router.register("models", RegistryFileViewSet, "registry-file")
router.register("providers", ProviderViewSet, "provider")
router.register("jobs", JobViewSet, "job")
router.register("routes", RouteViewSet, "route")
router.register("api-keys", ApiKeyViewSet, "api-key")
router.register("audit", AuditViewSet, "audit-entry")
router.register("events", EventViewSet, "event")
router.register("webhooks", WebhookViewSet, "webhook")
router.register("profiles", ProfileViewSet, "profile")
router.register("nodes", NodeViewSet, "node")
router.register("access-log", AccessLogViewSet, "access")
router.register("text-rules", TextRuleViewSet, "text-rule")
router.register("metrics", MetricsViewSet, "metrics")
router.register("state/snapshots", SnapshotViewSet, "snapshot")

urlpatterns = [
    # Before the router: `models/<key>` matches these too.
    path(
        "models/<modelkey:key>/capabilities/probe",
        CapabilityViewSet.as_view({"post": "probe"}),
        name="capability-probe",
    ),
    path("models/<modelkey:key>/capabilities", CapabilityViewSet.as_view({"get": "retrieve"}), name="capabilities"),
    path("models/<modelkey:key>/profile", ModelProfileViewSet.as_view({"post": "create"}), name="profile-model"),
    path("models/<modelkey:key>/profiles", ModelProfileViewSet.as_view({"get": "list"}), name="profiles"),
    *router.urls,
    path("models/save-state", StateViewSet.as_view({"post": "save"}), name="save-state"),
    # After the router: it matches every remaining word.
    path("models/<provider:provider>", ProviderModelViewSet.as_view({"get": "list"}), name="provider-models"),
    path("state", StateViewSet.as_view({"get": "retrieve"}), name="state"),
    path(
        "routes/<str:name>/auto-switch",
        AutoSwitchViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
        name="auto-switch",
    ),
    path(
        "routes/<str:name>/auto-switch/preview",
        AutoSwitchViewSet.as_view({"get": "preview"}),
        name="auto-switch-preview",
    ),
    path("access-report", AccessLogViewSet.as_view({"get": "report"}), name="access-report"),
    path("me", MeViewSet.as_view({"get": "retrieve"}), name="me"),
]

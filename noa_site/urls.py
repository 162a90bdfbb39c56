"""URLs that Django serves; the gateway serves /v1 in front of Django (noa_site.asgi)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from models_app.api import published

handler400 = "models_app.api.errors.bad_request"
handler403 = "models_app.api.errors.permission_denied"
handler404 = "models_app.api.errors.not_found"
handler500 = "models_app.api.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", include("models_app.admin.pages")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("models_app.api.urls")),
    path("api/schema", published.schema, name="schema"),
    path("api/docs", published.docs, name="docs"),
]

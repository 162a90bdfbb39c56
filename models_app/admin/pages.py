"""Pages of the console beside the model admins. Their URL patterns come before those of the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from models_app.admin import playground
from models_app.admin.dashboard.stream import live
from models_app.admin.measuring import comparing
from models_app.admin.measuring.series import series

app_name = "console"


urlpatterns = [
    path("live/", admin.site.admin_view(live), name="live"),
    path("series/", admin.site.admin_view(series), name="series"),
    path("compare/", admin.site.admin_view(comparing.compare), name="compare"),
    path("playground/", admin.site.admin_view(playground.page), name="playground"),
    path("playground/key/", admin.site.admin_view(playground.key), name="playground-key"),
    path("playground/record/", admin.site.admin_view(playground.record), name="playground-record"),
]

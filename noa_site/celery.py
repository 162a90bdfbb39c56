"""The Celery application."""

from __future__ import annotations

import os

from celery import Celery

from noa_site import embedded_broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")

embedded_broker.register()

app = Celery("noa")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

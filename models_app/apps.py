"""The Django application."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class ModelsAppConfig(AppConfig):
    name = "models_app"
    verbose_name = "NOA"

    def ready(self) -> None:
        # Registers itself.
        importlib.import_module("models_app.checks")
        playground = importlib.import_module("models_app.services.api_keys.playground")
        playground.follow_users()

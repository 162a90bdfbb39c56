"""Django's `migrate`, one process at a time and without a time limit for a statement."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from models_app.management.migrating import alone


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with alone():
            super().handle(*args, **options)

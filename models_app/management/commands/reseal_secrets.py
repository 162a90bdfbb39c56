"""`manage.py reseal_secrets`: after a new key was put first in NOA_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from models_app.services.coordination import audit, resealing


class Command(BaseCommand):
    help = "Seals every stored secret with the first of NOA_ENCRYPTION_KEYS. The others can then be taken away."

    def handle(self, *args: Any, **options: Any) -> None:
        done = resealing.reseal_all()
        audit.record(
            channel=audit.Channel.COMMAND,
            actor="command line",
            action="reseal_secrets",
            arguments={"resealed": done.count, "unreadable": done.unreadable},
            status=500 if done.unreadable else 200,
        )
        self.stdout.write(f"{done.count} secrets are sealed with the newest key.")
        if done.unreadable:
            raise CommandError(
                "These fit none of the keys and stay as they are; enter their secrets anew: "
                + ", ".join(done.unreadable)
            )

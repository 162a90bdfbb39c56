"""Encrypts stored secrets with a new key, the first of NOA_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from models_app.services.coordination import audit, resealing


class Command(BaseCommand):
    help = "Encrypt every stored secret with the first of NOA_ENCRYPTION_KEYS. The other keys can then be removed."

    def handle(self, *args: Any, **options: Any) -> None:
        done = resealing.reseal_all()
        audit.record(
            channel=audit.Channel.COMMAND,
            actor="command line",
            action="reseal_secrets",
            arguments={"resealed": done.count, "unreadable": done.unreadable},
            status=500 if done.unreadable else 200,
        )
        self.stdout.write(f"{done.count} secrets are encrypted with the newest key.")
        if done.unreadable:
            raise CommandError(
                "No key decrypts these, and they are unchanged; enter their secrets again: "
                + ", ".join(done.unreadable)
            )

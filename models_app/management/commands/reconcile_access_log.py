"""Compares the requests that web processes served with the rows of the access log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from models_app.services.access_log import reconciling

_COLUMNS = (
    "recorded",
    "stored",
    "rows",
    "waiting",
    "dropped",
    "quarantined",
    "missing",
    "cut_off",
)


class Command(BaseCommand):
    help = (
        "Compare the requests that each web process counted with the rows of the access log."
        " Exits with 1 when a row is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=float, default=24.0, help="the period until now, in hours")

    def handle(self, *args: Any, **options: Any) -> None:
        accounts = reconciling.accounts(since=timezone.now() - timedelta(hours=options["hours"]))
        self.stdout.write("\t".join(("process", *_COLUMNS)))
        for account in accounts:
            counts = (f"{getattr(account, name):,}" for name in _COLUMNS)
            self.stdout.write("\t".join((f"{account.node}/{account.pid} {account.recorder}", *counts)))
        missing = sum(account.missing for account in accounts)
        if missing:
            raise CommandError(f"{missing:,} requests have neither a row nor a reason.")
        self.stdout.write(f"{sum(account.recorded for account in accounts):,} served, none missing.")

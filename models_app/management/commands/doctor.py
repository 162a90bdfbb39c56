"""Checks everything that the server needs. Exits with 1 when a problem keeps it from working."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from models_app.domain.measuring import diagnosis
from models_app.domain.measuring.diagnosis import Finding, Level
from models_app.services.reporting import doctor

_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}


class Command(BaseCommand):
    help = "Check everything that a NOA server needs, and print problems and their remedies."
    # It reports the same problems itself, and an unreachable database too.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="the findings as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = doctor.examine()
        if options["json"]:
            self.stdout.write(json.dumps([finding.represent() for finding in findings], indent=2))
        else:
            for finding in findings:
                self.stdout.write(_line(finding))
        if diagnosis.worst(findings) is Level.PROBLEM:
            sys.exit(1)


def _line(finding: Finding) -> str:
    todo = f"\n          -> {finding.todo}" if finding.todo else ""
    return f"{_MARKS[finding.level]}  {finding.check}: {finding.what}{todo}"

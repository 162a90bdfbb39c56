"""One web process of `serve --workers N`, which starts it and passes it the socket."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils.module_loading import import_string

from models_app.management.web_processes import READY


class Command(BaseCommand):
    help = "Internal: one web process of 'serve --workers N'."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--listener", type=int, required=True, help="an inherited socket")
        parser.add_argument("--ready", type=int, required=True, help="an inherited pipe")

    def handle(self, *args: Any, **options: Any) -> None:
        threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()

        def report_ready() -> None:
            os.write(options["ready"], READY)
            os.close(options["ready"])

        listener = socket.socket(fileno=options["listener"])
        import_string(settings.NOA_WEB_SERVER)(listener, on_ready=report_ready)


def _end_with_parent() -> None:
    """Ends this process when its standard input closes, which happens when the parent ends, even by a crash."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)

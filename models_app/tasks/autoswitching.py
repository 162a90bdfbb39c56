"""Looks now and then whether a route should move by itself."""

from __future__ import annotations

from models_app.services.desired_state import autoswitch
from models_app.tasks import queueing

# `confirmations` of a policy count these looks: three of them are three minutes.
LOOK_SECONDS = 60.0


def look() -> None:
    for job in autoswitch.look():
        queueing.enqueue(job)

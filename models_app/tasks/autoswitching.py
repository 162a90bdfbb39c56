"""Decides periodically whether routes with an auto-switch policy move."""

from __future__ import annotations

from models_app.services.desired_state import autoswitch
from models_app.tasks import queueing

# `confirmations` of a policy count these decisions: three of them take three minutes.
INTERVAL_SECONDS = 60.0


def decide_all() -> None:
    for job in autoswitch.decide_all():
        queueing.enqueue(job)

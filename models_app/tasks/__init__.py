"""Celery: one service call each."""

from models_app.tasks import discovery, lifecycle, worker

__all__ = ["discovery", "lifecycle", "worker"]

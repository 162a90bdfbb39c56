"""Celery: one service call each."""

from models_app.tasks import discovery, lifecycle, probing, profiling, state, worker

__all__ = ["discovery", "lifecycle", "probing", "profiling", "state", "worker"]

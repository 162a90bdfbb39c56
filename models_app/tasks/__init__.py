"""Celery: one service call each."""

from models_app.tasks import discovery, lifecycle, nodes, probing, profiling, state, worker

__all__ = ["discovery", "lifecycle", "nodes", "probing", "profiling", "state", "worker"]

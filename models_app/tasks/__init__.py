"""Celery: one service call each."""

from models_app.tasks import discovery, lifecycle

__all__ = ["discovery", "lifecycle"]

"""Waits for a load of the same model by another job."""

from __future__ import annotations

from django.conf import settings

from models_app.domain.errors import LoadFailed
from models_app.domain.states import InstanceState
from models_app.models import Instance, RegisteredModel
from models_app.services.jobs.jobs import Run
from models_app.services.runners import instances


def join(*, run: Run, model: RegisteredModel, instance: Instance | None) -> Instance:
    """Returns the instance that another job starts, once it is ready; raises LoadFailed as soon as that load fails."""
    if instance is not None:
        with run.step("wait", f"Another job is loading {model.key}."):
            instance = instances.wait_until_settled(
                instance_id=instance.pk,
                seconds=settings.NOA_LOAD_TIMEOUT,
                check=run.check_cancelled,
            )
    if instance is None or instance.state == InstanceState.STOPPED:
        raise LoadFailed(
            f"'{model.key}' is not loaded: its load was cancelled, or it was unloaded at the same time. Try again.",
            stage="start",
            code="load_cancelled",
        )
    if instance.state != InstanceState.READY:
        reason = instance.failure_reason
        raise LoadFailed(f"'{model.key}' could not be loaded: {reason}", stage="start")
    return instance

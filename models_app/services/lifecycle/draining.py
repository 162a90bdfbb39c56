"""Drains a node: loads its models elsewhere, unloads them there, and places no new ones on it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Cancelled, Conflict, LoadFailed, NoaError
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.models import Instance, Job, Node, RegisteredModel
from models_app.services.jobs import jobs, waiting
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import unloading
from models_app.services.nodes import cluster, placement
from models_app.services.runners import instances


def request_drain(*, name: str, actor: str) -> tuple[Job, bool]:
    """A queued job and True, or the active one that does the same and False. Raises NotFound.

    No model is placed there from now on.
    """
    row = cluster.get(name=name)
    Node.objects.filter(pk=row.pk, draining_at=None).update(draining_at=timezone.now())
    return jobs.create(kind=JobKind.DRAIN, subject=row.name, arguments={}, actor=actor, asked_node=row.name)


def resume(*, name: str) -> Node:
    """Allow loads there again."""
    row = cluster.get(name=name)
    Node.objects.filter(pk=row.pk).update(draining_at=None)
    return cluster.get(name=name)


def drain(*, run: Run, name: str) -> None:
    """Move model by model. Raises Conflict `node_not_empty` at the end when a model had to stay."""
    moved: list[str] = []
    kept: list[dict[str, Any]] = []
    run.result |= {"moved": moved, "kept": kept}
    found = Instance.objects.filter(node=name, state=InstanceState.READY, version__isnull=False)
    for instance in found.select_related("model__provider", "model__version"):
        key = instance.model.key
        try:
            _move_away(run, instance)
            moved.append(key)
        except Cancelled:
            raise
        except NoaError as error:
            kept.append({"key": key, "code": error.code, "reason": error.message})
    if kept:
        raise Conflict(
            f"Still loaded on '{name}', as no other node can load it: {', '.join(model['key'] for model in kept)}."
            " Unload it, or make room.",
            code="node_not_empty",
        )


def _move_away(run: Run, instance: Instance) -> None:
    model, name = instance.model, instance.node
    replicas = model.replicas
    others = set(instances.copies(model=model).exclude(node=name).values_list("node", flat=True))
    if len(others) < replicas:
        try:
            load_elsewhere(run=run, model=model, avoid=others | {name})
        except NoaError:
            # Fewer copies than desired are better than none.
            if not others:
                raise
    unloading.retire(run=run, instance=instance, because=f", as '{name}' is taken out of service")
    RegisteredModel.objects.filter(pk=model.pk).update(replicas=replicas)


def load_elsewhere(*, run: Run, model: RegisteredModel, avoid: set[str]) -> None:
    """Load a model on another node and wait for the job; raises Conflict or LoadFailed."""
    chosen = placement.node_for_load(model=model, options=LoadOptions(), avoid=avoid)
    if chosen in avoid:
        raise Conflict(f"No other node can load '{model.key}' now.", code="no_node_has_file")
    with run.step("load", f"{model.key} on '{chosen}'"):
        job, _ = jobs.create(
            kind=JobKind.LOAD,
            subject=model.key,
            arguments={},
            options=LoadOptions(),
            actor=run.actor,
            asked_node=chosen,
        )
        ended = waiting.wait(job_id=job.pk, seconds=settings.NOA_LOAD_TIMEOUT)
    if ended.state != JobState.SUCCEEDED:
        reason = ended.error_message or "it was not loaded in time."
        raise LoadFailed(f"'{model.key}' could not be loaded on '{chosen}': {reason}", stage="start")

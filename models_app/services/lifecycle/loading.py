"""Loads models: concurrent requests share one instance, and a failed or cancelled load leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import transaction

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import (
    Cancelled,
    Conflict,
    InsufficientMemory,
    Interrupted,
    LoadFailed,
    ModelFileError,
    NoaError,
)
from models_app.domain.events import EventName
from models_app.domain.residency.admission import LoadRequest
from models_app.domain.residency.ledger import FactEvent, LedgerCause, LedgerKind, LedgerOutcome, LifecycleFact
from models_app.domain.states import InstanceState, ModelStatus
from models_app.engines.process import Ready
from models_app.engines.spec import RunnerSpec
from models_app.models import Instance, ModelVersion, RegisteredModel
from models_app.services.catalog import ledger, lookup
from models_app.services.coordination import connections
from models_app.services.events import events
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import admission, joining, predictions, remote_loading, unloading
from models_app.services.providers import providers
from models_app.services.registry import local_discovery
from models_app.services.runners import instances, node

# The share of a job's progress that its load takes, by the runner's stage.
_STAGE_PROGRESS = {
    "start": (0.1, 0.15),
    "load": (0.15, 0.8),
    "template": (0.8, 0.85),
    "warm_up": (0.85, 0.95),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A ready instance; `started` when this run started it, and so must end it when it is cancelled."""

    instance: Instance
    options: LoadOptions
    started: bool


def load(*, run: Run, key: str, options: LoadOptions) -> Instance:
    """Returns the ready instance of a model; starts one if there is none.

    Sets the desired state, except for a load on demand of a request through the gateway.
    Raises ModelNotFound, ModelFileError, InsufficientMemory, Unavailable or LoadFailed; the model is then `failed`,
    with the reason. Raises Cancelled when the job was cancelled; the load is then undone.
    """
    loaded = bring_up(run=run, key=key, options=options)
    try:
        with transaction.atomic():
            run.commit_point()
            if run.origin.cause != LedgerCause.REQUEST:
                set_desired(loaded=loaded)
            if run.job.asked_node:
                raise_replicas(model=loaded.instance.model)
    except Cancelled:
        undo(run=run, loaded=loaded)
        raise
    return loaded.instance


def bring_up(*, run: Run, key: str, options: LoadOptions, spared: frozenset[str] = frozenset()) -> Loaded:
    """`load` without the desired state: the caller sets that with `set_desired`, or undoes the load with `undo`.

    Models whose keys are `spared` are not unloaded to make room.
    """
    model = lookup.get(key=key)
    remote = providers.is_remote(model.provider)
    chosen = LoadOptions.parse(model.load_options) if options.is_empty and not remote else options
    # A load that names its node needs an instance there, even if other nodes have one.
    asked_node = run.job.asked_node
    instance = instances.serving(model=model, node=asked_node)
    if instance is not None and not options.is_empty and LoadOptions.parse(instance.options) != options:
        raise Conflict(
            f"'{model.key}' is loaded with other options: {instance.options or 'none'}. "
            "Unload it first, then load it with these.",
            code="loaded_with_other_options",
        )
    started = False
    if instance is None:
        with run.step("check"):
            check_loadable(model=model, options=chosen)
            version = None if remote else _checked_version(run, model)
            reserved = instances.reserve(
                model=model,
                version=version,
                node=settings.NOA_NODE,
                options=chosen,
                beside=bool(asked_node) and not remote,
            )
        started = reserved is not None
        if reserved is not None:
            instance = _start(run, model, version, reserved, chosen, spared)
        else:
            instance = instances.serving(model=model, node="" if remote else asked_node)
    if instance is None or instance.state != InstanceState.READY:
        instance = joining.join(run=run, model=model, instance=instance)
    run.result |= {
        "key": model.key,
        "instance": str(instance.pk),
        "memory_bytes": instance.memory_bytes,
        "load_seconds": instance.load_seconds,
    }
    return Loaded(instance, chosen, started)


def set_desired(*, loaded: Loaded) -> None:
    """Make this model part of the desired state: a node that restarts loads it again, with these options."""
    RegisteredModel.objects.filter(pk=loaded.instance.model_id).update(
        wanted=True, load_options=loaded.options.as_dict()
    )


def raise_replicas(*, model: RegisteredModel) -> None:
    """Raise the desired number of copies to the present one."""
    count = instances.copies(model=model).count()
    RegisteredModel.objects.filter(pk=model.pk, replicas__lt=count).update(replicas=count)


def undo(*, run: Run, loaded: Loaded) -> None:
    """Undo the load of a run that was cancelled or failed; what was loaded before stays."""
    if loaded.started:
        _clear_desired(loaded.instance)
        unloading.retire(run=run, instance=loaded.instance, because=", as its job did not succeed")
    run.result.clear()


def check_loadable(*, model: RegisteredModel, options: LoadOptions) -> None:
    """Raises Conflict or InvalidRequest for a model of a remote provider that cannot be loaded now, or with options."""
    if providers.is_remote(model.provider):
        remote_loading.check_loadable(model=model, options=options)


def _start(
    run: Run,
    model: RegisteredModel,
    version: ModelVersion | None,
    instance: Instance,
    options: LoadOptions,
    spared: frozenset[str],
) -> Instance:
    """Start the reserved instance. `version` is None for a model of a remote provider, which has no file here."""
    events.publish(
        name=EventName.MODEL_LOADING,
        subject=model.key,
        message=f"{model.key} is being loaded.",
        actor=run.actor,
        cause=run.cause,
        before=model.status,
        after=ModelStatus.LOADING,
        job_id=run.job.pk,
        data={"options": options.as_dict(), "sha256": version.sha256 if version else None},
    )
    try:
        if version is None:
            return _connect(run, model, instance)
        return _start_runner(run, model, version, instance, options, spared)
    except Cancelled:
        _clear_desired(instance)
        _withdraw(run, instance)
        raise
    except Interrupted:
        _withdraw(run, instance)
        raise
    except NoaError as error:
        _give_up(run, model, instance, error)
        raise
    except BaseException:
        _give_up(run, model, instance, LoadFailed("Internal error. The server log has the details.", stage="start"))
        raise


def _connect(run: Run, model: RegisteredModel, instance: Instance) -> Instance:
    started = monotonic()
    remote_loading.connect(run=run, model=model)
    with run.step("publish"):
        return _publish(run, model, instance, None, round(monotonic() - started, 3))


def _start_runner(
    run: Run,
    model: RegisteredModel,
    version: ModelVersion,
    instance: Instance,
    options: LoadOptions,
    spared: frozenset[str],
) -> Instance:
    spec = predictions.spec_for(
        version=version,
        options=options,
        instance=instance,
        socket=node.supervisor().socket_path(str(instance.pk)),
    )
    prediction = predictions.predict(version=version, spec=spec)
    request = LoadRequest(model.key, prediction.memory, priority=model.priority, spared=spared)
    decision = admission.admit(run=run, instance=instance, request=request, prediction=prediction)
    started = monotonic()
    with run.step("start"):
        ready = _launch(run, instance, spec)
    seconds = round(monotonic() - started, 3)
    with run.step("publish"):
        loaded = _publish(run, model, instance, ready, seconds, admission.candidates_of(decision))
        predictions.record(version=version, spec=spec, memory_bytes=ready.memory["rss_bytes"], seconds=seconds)
    return loaded


def _launch(run: Run, instance: Instance, spec: RunnerSpec) -> Ready:
    owner = node.supervisor()
    runner = owner.launch(spec)
    instance.pid, instance.pid_identity, instance.pid_started_at = runner.pid, runner.identity, runner.started_at
    instance.socket = spec.socket
    instance.save(update_fields=["pid", "pid_identity", "pid_started_at", "socket"])

    warming = threading.Event()

    def on_stage(stage: str, fraction: float) -> None:
        if stage == "warm_up" and not warming.is_set():
            warming.set()
            _publish_warm_up(run, instance, EventName.MODEL_WARMING_UP, "is being warmed up with its first token.")
        low, high = _STAGE_PROGRESS.get(stage, (0.0, 0.0))
        run.progress(low + (high - low) * fraction)

    def stop() -> None:
        run.check_cancelled()
        owner.check_open()

    try:
        connections.release()
        ready = runner.wait_ready(timeout=settings.NOA_LOAD_TIMEOUT, on_stage=on_stage, stop=stop)
    except LoadFailed:
        # When the worker stops, the runner did not fail: it was stopped.
        owner.check_open()
        raise
    if warming.is_set():
        _publish_warm_up(run, instance, EventName.MODEL_WARMED_UP, "is warm: it has answered its first token.")
    return ready


def _publish_warm_up(run: Run, instance: Instance, name: EventName, what: str) -> None:
    key = instance.model.key
    events.publish(
        name=name,
        subject=key,
        message=f"{key} {what}",
        actor=run.actor,
        cause=run.cause,
        job_id=run.job.pk,
        data={"instance": str(instance.pk)},
    )


def _publish(
    run: Run,
    model: RegisteredModel,
    instance: Instance,
    ready: Ready | None,
    seconds: float,
    candidates: Sequence[Mapping[str, Any]] = (),
) -> Instance:
    memory, notes = (ready.memory, list(ready.notes)) if ready else ({}, [])
    with transaction.atomic():
        moved = instances.move(
            instance=instance,
            to=InstanceState.READY,
            context_tokens=ready.n_ctx if ready else model.context_window,
            slots=ready.slots if ready else None,
            memory_bytes=memory.get("rss_bytes"),
            load_seconds=seconds,
        )
        if not moved:
            raise Conflict(f"'{model.key}' was stopped while it was loaded.", code="load_cancelled")
        event = FactEvent(
            EventName.MODEL_LOADED,
            " ".join([f"{model.key} was loaded in {seconds:.1f} s.", *notes]),
            cause=run.cause,
            before=ModelStatus.LOADING,
            after=ModelStatus.LOADED,
            data={"instance": str(instance.pk), "seconds": seconds, "memory": memory, "notes": notes},
        )
        fact = LifecycleFact(
            LedgerKind.LOAD, model.key, LedgerOutcome.DONE, run.origin, candidates=candidates, event=event
        )
        loaded = Instance.objects.select_related("model", "version").get(pk=instance.pk)
        ledger.record(fact, instance=loaded)
    if notes:
        run.result["notes"] = notes
    return loaded


def _checked_version(run: Run, model: RegisteredModel) -> ModelVersion:
    """The version of the model's file. One that is gone, cut or damaged fails the load as one in a later step does."""
    try:
        return local_discovery.fresh_version(model=model)
    except (ModelFileError, LoadFailed) as error:
        with transaction.atomic():
            if instances.fail_without_instance(model=model, stage="check", reason=error.message):
                ledger.record(_failure(run, model, error, "check"))
        raise


def _give_up(run: Run, model: RegisteredModel, instance: Instance, error: NoaError) -> None:
    """Clean up a failed load: the process ends before its row shows it."""
    stage = str(error.details.get("stage", "check"))
    node.end_runner(instance_id=str(instance.pk), grace=0.0)
    with transaction.atomic():
        instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_stage=stage,
            failure_reason=error.message,
        )
        ledger.record(_failure(run, model, error, stage), instance=instance)


def _failure(run: Run, model: RegisteredModel, error: NoaError, stage: str) -> LifecycleFact:
    refused = isinstance(error, InsufficientMemory)
    event = FactEvent(
        EventName.LOAD_REFUSED if refused else EventName.MODEL_LOAD_FAILED,
        f"{model.key} could not be loaded (stage '{stage}').",
        cause=error.code,
        before=ModelStatus.LOADING,
        after=ModelStatus.FAILED,
        data={"stage": stage, "code": error.code, "reason": error.message},
    )
    return LifecycleFact(
        LedgerKind.REFUSAL if refused else LedgerKind.LOAD,
        model.key,
        LedgerOutcome.REFUSED if refused else LedgerOutcome.FAILED,
        run.origin,
        reason=error.message,
        candidates=error.details.get("kept") or (),
        event=event,
    )


def _withdraw(run: Run, instance: Instance) -> None:
    """Clean up a load that was cancelled or interrupted, without marking the model as failed."""
    node.end_runner(instance_id=str(instance.pk), grace=0.0)
    with transaction.atomic():
        instances.move(instance=instance, to=InstanceState.STOPPED)
        fact = LifecycleFact(LedgerKind.LOAD, instance.model.key, LedgerOutcome.CANCELLED, run.origin)
        ledger.record(fact, instance=instance)


def _clear_desired(instance: Instance) -> None:
    """Remove the model from the desired state, unless other copies of it serve."""
    if not instances.copies(model=instance.model).exclude(pk=instance.pk).exists():
        RegisteredModel.objects.filter(pk=instance.model_id).update(wanted=False)

"""Load and unload local models."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
from django.conf import settings
from django.db import transaction

from models_app.domain.errors import (
    Conflict,
    InsufficientMemory,
    LoadFailed,
    NoaError,
    RunnerDied,
)
from models_app.domain.events import EventName
from models_app.domain.gguf import GgufMetadata
from models_app.domain.options import LoadOptions
from models_app.domain.providers import ProviderKind
from models_app.domain.states import InstanceState
from models_app.engines import control, llamacpp
from models_app.engines.process import Ready
from models_app.engines.spec import RunnerSpec
from models_app.models import Instance, ModelVersion, RegisteredModel
from models_app.services import discovery, events, instances, node, registry
from models_app.services.jobs import Run

logger = logging.getLogger(__name__)

# The share of a job's progress that its load takes, by the runner's stage.
_STAGE_PROGRESS = {
    "start": (0.1, 0.15),
    "load": (0.15, 0.8),
    "template": (0.8, 0.85),
    "warm_up": (0.85, 0.95),
}


def load(*, run: Run, key: str, options: dict[str, Any]) -> Instance:
    """The ready instance of a model, started if there is none. Sets the desired state.

    Raises ModelNotFound, ModelFileError, InsufficientMemory or LoadFailed; the model is then `failed` and says why.
    """
    model = registry.get(key=key)
    parsed = LoadOptions.parse(options or model.load_options)
    instance = instances.serving(model=model)
    if instance is not None and options and instance.options != parsed.as_dict():
        raise Conflict(
            f"'{model.key}' is loaded with other options: {instance.options or 'none'}. "
            "Unload it first, then load it with these.",
            code="loaded_with_other_options",
        )
    if instance is None:
        with run.step("check"):
            check_loadable(model=model)
            version = discovery.fresh_version(model=model)
            reserved = instances.reserve(
                model=model, version=version, node=settings.NOA_NODE, options=parsed.as_dict()
            )
        if reserved is not None:
            instance = _start(run, model, version, reserved, parsed)
        else:
            instance = instances.serving(model=model)
    if instance is None or instance.state != InstanceState.READY:
        instance = _wait_for_other(run, model, instance)
    RegisteredModel.objects.filter(pk=model.pk).update(wanted=True, load_options=parsed.as_dict())
    run.result |= {
        "key": model.key,
        "instance": str(instance.pk),
        "memory_bytes": instance.memory_bytes,
        "load_seconds": instance.load_seconds,
    }
    return instance


def check_loadable(*, model: RegisteredModel) -> None:
    """Raises Conflict for a model that is no local file."""
    if model.provider.kind != ProviderKind.LLAMA_CPP:
        raise Conflict(
            f"'{model.key}' is served by {model.provider}; only local GGUF models can be loaded.",
            code="not_loadable",
        )


def _wait_for_other(run: Run, model: RegisteredModel, instance: Instance | None) -> Instance:
    """Somebody else loads this model already: their load is ours."""
    if instance is not None:
        with run.step("wait", f"Another job is loading {model.key}."):
            instance = instances.wait_until_settled(
                instance_id=instance.pk, seconds=settings.NOA_LOAD_TIMEOUT
            )
    if instance is None or instance.state != InstanceState.READY:
        reason = instance.failure_reason if instance else "it was unloaded at the same time"
        raise LoadFailed(f"'{model.key}' could not be loaded: {reason}", stage="start")
    return instance


def _start(
    run: Run,
    model: RegisteredModel,
    version: ModelVersion,
    instance: Instance,
    options: LoadOptions,
) -> Instance:
    started = monotonic()
    events.publish(
        name=EventName.MODEL_LOADING,
        subject=model.key,
        message=f"{model.key} is being loaded.",
        actor=run.actor,
        job_id=run.job.pk,
        data={"options": options.as_dict(), "sha256": version.sha256},
    )
    try:
        spec = _plan(model, version, instance, options)
        with run.step("start"):
            ready = _launch(run, instance, spec)
        with run.step("publish"):
            return _publish(run, model, instance, ready, round(monotonic() - started, 3))
    except NoaError as error:
        _give_up(run, model, instance, error)
        raise
    except BaseException:
        _give_up(run, model, instance, LoadFailed("NOA failed while it loaded.", stage="start"))
        raise


def _plan(
    model: RegisteredModel, version: ModelVersion, instance: Instance, options: LoadOptions
) -> RunnerSpec:
    metadata = GgufMetadata.from_dict(version.header)
    spec = llamacpp.plan(
        metadata,
        options,
        instance_id=str(instance.pk),
        model=model.key,
        fingerprint=instance.fingerprint,
        path=Path(version.path),
        socket=node.supervisor().socket_path(str(instance.pk)),
    )
    need = llamacpp.memory_need(metadata, spec).total
    instance.memory_estimate_bytes = need
    instance.save(update_fields=["memory_estimate_bytes"])
    free = psutil.virtual_memory().available
    if need > free:
        raise InsufficientMemory(
            f"'{model.key}' needs about {need / 2**30:.1f} GiB with a context of {spec.n_ctx} tokens, and "
            f"{free / 2**30:.1f} GiB are free. Unload another model, or load it with a smaller 'n_ctx'.",
            details={"needed_bytes": need, "free_bytes": free},
        )
    return spec


def _launch(run: Run, instance: Instance, spec: RunnerSpec) -> Ready:
    owner = node.supervisor()
    runner = owner.launch(spec)
    instance.pid, instance.pid_started_at, instance.socket = (
        runner.pid,
        runner.started_at,
        spec.socket,
    )
    instance.save(update_fields=["pid", "pid_started_at", "socket"])

    warming = threading.Event()

    def on_stage(stage: str, fraction: float) -> None:
        if stage == "warm_up" and not warming.is_set():
            warming.set()
            _say(
                run,
                instance,
                EventName.MODEL_WARMING_UP,
                "is being warmed up: it is asked for its first token.",
            )
        low, high = _STAGE_PROGRESS.get(stage, (0.0, 0.0))
        run.progress(low + (high - low) * fraction)

    def stop() -> str | None:
        return "The server is stopping." if owner.closing else None

    ready = runner.wait_ready(timeout=settings.NOA_LOAD_TIMEOUT, on_stage=on_stage, stop=stop)
    if warming.is_set():
        _say(run, instance, EventName.MODEL_WARMED_UP, "is warm: it has answered its first token.")
    return ready


def _say(run: Run, instance: Instance, name: EventName, what: str) -> None:
    key = instance.model.key
    events.publish(
        name=name,
        subject=key,
        message=f"{key} {what}",
        actor=run.actor,
        job_id=run.job.pk,
        data={"instance": str(instance.pk)},
    )


def _publish(
    run: Run, model: RegisteredModel, instance: Instance, ready: Ready, seconds: float
) -> Instance:
    with transaction.atomic():
        moved = instances.move(
            instance=instance,
            to=InstanceState.READY,
            context_tokens=ready.n_ctx,
            slots=ready.slots,
            memory_bytes=ready.memory.get("rss_bytes"),
            load_seconds=seconds,
        )
        if not moved:
            raise Conflict(f"'{model.key}' was stopped while it was loaded.", code="load_cancelled")
        events.publish(
            name=EventName.MODEL_LOADED,
            subject=model.key,
            message=f"{model.key} was loaded in {seconds:.1f} s.",
            actor=run.actor,
            job_id=run.job.pk,
            data={"instance": str(instance.pk), "seconds": seconds, "memory": ready.memory},
        )
    return Instance.objects.select_related("model", "version").get(pk=instance.pk)


def _give_up(run: Run, model: RegisteredModel, instance: Instance, error: NoaError) -> None:
    """Nothing of a failed load stays: the process ends before the row says so."""
    stage = str(error.details.get("stage", "check"))
    node.end_runner(instance_id=str(instance.pk), grace=0.0)
    with transaction.atomic():
        instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_stage=stage,
            failure_reason=error.message,
        )
        events.publish(
            name=EventName.MODEL_LOAD_FAILED,
            subject=model.key,
            message=f"{model.key} could not be loaded (stage '{stage}').",
            actor=run.actor,
            job_id=run.job.pk,
            data={"stage": stage, "code": error.code, "reason": error.message},
        )


def unload(*, run: Run, key: str) -> None:
    """Drain and stop a model's instance. Clears the desired state.

    Raises Conflict when the model is not loaded or is only being loaded.
    """
    model = registry.get(key=key)
    instance = loaded_instance(model=model)
    RegisteredModel.objects.filter(pk=model.pk).update(wanted=False)
    retire(run=run, instance=instance)
    run.result |= {"key": model.key}


def loaded_instance(*, model: RegisteredModel) -> Instance:
    """The ready instance; raises Conflict when there is none."""
    instance = instances.serving(model=model)
    if instance is None:
        raise Conflict(
            f"'{model.key}' is not loaded, so there is nothing to unload.", code="model_not_loaded"
        )
    if instance.state != InstanceState.READY:
        raise Conflict(
            f"'{model.key}' is still being loaded; unload it when that has ended.",
            code="model_is_loading",
        )
    return instance


def retire(*, run: Run, instance: Instance, because: str = "") -> None:
    """Take an instance out of service: no new requests, let those in flight end, stop the runner.

    `because` completes the sentence "… was unloaded" of the event.
    """
    key = instance.model.key
    if not instances.move(instance=instance, to=InstanceState.DRAINING):
        return  # it stopped or failed by itself meanwhile
    with run.step("drain", f"{key}: waiting for requests in flight to end."):
        cut = _drain(instance)
    with run.step("stop", key):
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        with transaction.atomic():
            instances.move(instance=instance, to=InstanceState.STOPPED)
            events.publish(
                name=EventName.MODEL_UNLOADED,
                subject=key,
                message=f"{key} was unloaded{because}"
                + (f"; {cut} requests were cut." if cut else "."),
                actor=run.actor,
                job_id=run.job.pk,
                data={"instance": str(instance.pk), "cut_requests": cut},
            )


def _drain(instance: Instance) -> int | None:
    """Requests that are still in flight at the deadline; None when the runner does not say."""
    if node.supervisor().get(str(instance.pk)) is None:
        return 0
    try:
        return control.drain(instance.socket, wait=settings.NOA_DRAIN_TIMEOUT)
    except RunnerDied:
        # It is stopped next in any case, and that is what was asked for.
        logger.warning("%s did not answer while it drained", instance, exc_info=True)
        return None

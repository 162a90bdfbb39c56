"""Measures a loaded model under a known load."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from models_app.domain.capabilities import Capability
from models_app.domain.errors import EngineError, InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.domain.routing import Target
from models_app.domain.states import JobKind
from models_app.domain.summaries import summarise
from models_app.models import Instance, Job, ProfileRun, ProfileSample, RegisteredModel
from models_app.providers.measuring import Load, Measurement, Sample
from models_app.services import events, jobs, probing, registry, targets
from models_app.services.jobs import Run

# Short questions of different kinds, so that a profile without prompts of its own says something of usual traffic.
PROMPTS = (
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper.",
    "List five things to check before a long train journey.",
    "What is the difference between a list and a tuple in Python?",
    "Summarise what a water cycle is for a child of ten.",
)
# Between looks whether somebody wants the job to end.
_LOOK_SECONDS = 0.5
# A word of English filler is one token of nearly every vocabulary; the samples say how many there were.
_WORDS_PER_TOKEN = 1.0


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """prompt_tokens  about how long prompts are made; None leaves them as they are. Samples hold the true count
    prompts        asked in turn; empty for NOA's own
    """

    requests: int = 10
    concurrency: int = 1
    max_tokens: int = 64
    prompt_tokens: int | None = None
    prompts: Sequence[str] = ()


def request(*, key: str, wanted: ProfileSettings, actor: str) -> tuple[Job, bool]:
    """A queued job and True, or the one that does the same already and False.

    Raises InvalidRequest, ModelNotFound, or Conflict for a model that is not loaded.
    """
    model = registry.get(key=key)
    if not {Capability.CHAT_COMPLETION, Capability.TEXT_GENERATION} & set(model.capabilities):
        raise InvalidRequest(
            f"'{model.key}' does not generate text, and a profile measures how it generates.",
            code="cannot_generate",
            param="key",
        )
    targets.require_loaded(model=model)
    arguments = asdict(wanted) | {"prompts": list(wanted.prompts)}
    return jobs.create(kind=JobKind.PROFILE, subject=model.key, arguments=arguments, actor=actor)


def profile(*, run: Run, key: str, wanted: ProfileSettings) -> None:
    """Ask the model as `wanted` says and store every sample; the summary comes when all are there.

    A profile that is cancelled, or whose process dies, keeps its samples and stays incomplete.
    """
    model = registry.get(key=key)
    instance, target = targets.loaded(model=model)
    row = _begin(run, model, instance, target, wanted)
    run.result |= {"profile": str(row.pk), "key": model.key}
    started = monotonic()
    try:
        with run.step("measure", f"{wanted.requests} requests"):
            samples = _measure(run, row, target, _load(model, wanted))
    except BaseException:
        ProfileRun.objects.filter(pk=row.pk).update(finished_at=timezone.now())
        raise
    _complete(run, model, row, samples, monotonic() - started)


def _load(model: RegisteredModel, wanted: ProfileSettings) -> Load:
    prompts = wanted.prompts or PROMPTS
    longest = max(len(prompt.split()) for prompt in prompts)
    words = max(0, int((wanted.prompt_tokens or 0) * _WORDS_PER_TOKEN) - longest)
    return Load(
        path=probing.path_of(model),
        requests=wanted.requests,
        concurrency=wanted.concurrency,
        max_tokens=wanted.max_tokens,
        prompts=prompts,
        prompt_words=words,
    )


@transaction.atomic
def _begin(
    run: Run,
    model: RegisteredModel,
    instance: Instance,
    target: Target,
    wanted: ProfileSettings,
) -> ProfileRun:
    row = ProfileRun.objects.create(
        model=model,
        version=instance.version,
        job_id=run.job.pk,
        settings=asdict(wanted) | {"prompts": list(wanted.prompts)},
        environment=_environment(instance, target),
    )
    events.publish(
        name=EventName.PROFILING_STARTED,
        subject=model.key,
        message=f"{model.key} is being profiled with {wanted.requests} requests, {wanted.concurrency} at a time.",
        actor=run.actor,
        cause="requested",
        job_id=run.job.pk,
        data={"profile": str(row.pk), "requests": wanted.requests},
    )
    return row


def _environment(instance: Instance, target: Target) -> dict[str, Any]:
    """What the figures depend on, as it was when the profile began."""
    version = instance.version
    return {
        "engine": targets.engine_of(target),
        "instance": str(instance.pk),
        "node": instance.node,
        "measured_from": settings.NOA_NODE,
        "options": instance.options,
        "context_tokens": instance.context_tokens,
        "slots": instance.slots,
        "sha256": version.sha256 if version else None,
        "quantization": version.quantization if version else None,
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "load_average": list(os.getloadavg()),
    }


def _measure(run: Run, row: ProfileRun, target: Target, load: Load) -> list[Sample]:
    samples: list[Sample] = []
    with Measurement(target, load) as measurement:
        for batch in measurement.batches(_LOOK_SECONDS):
            ProfileSample.objects.bulk_create([_sample_row(row, sample) for sample in batch])
            samples += batch
            run.progress(len(samples) / load.requests)
    if len(samples) < load.requests:
        raise EngineError(
            f"The measurement ended after {len(samples)} of {load.requests} requests. The server's log tells why.",
            code="profile_incomplete",
        )
    return samples


def _sample_row(row: ProfileRun, sample: Sample) -> ProfileSample:
    return ProfileSample(
        run=row,
        number=sample.number,
        ok=sample.ok,
        error=sample.error[:255],
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        ttft_ms=sample.ttft_ms,
        duration_ms=sample.duration_ms,
    )


def _complete(
    run: Run, model: RegisteredModel, row: ProfileRun, samples: Sequence[Sample], seconds: float
) -> None:
    summary = summary_of(samples, seconds)
    environment = row.environment | {"load_average_after": list(os.getloadavg())}
    with transaction.atomic():
        ProfileRun.objects.filter(pk=row.pk).update(
            summary=summary, environment=environment, complete=True, finished_at=timezone.now()
        )
        events.publish(
            name=EventName.PROFILING_COMPLETED,
            subject=model.key,
            message=f"{model.key} was profiled: {summary['succeeded']} of {len(samples)} requests succeeded.",
            actor=run.actor,
            cause="requested",
            job_id=run.job.pk,
            data={"profile": str(row.pk), "summary": summary},
        )
    run.result |= {"summary": summary}


def summary_of(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """Figures of the samples that succeeded; `seconds` is how long all of them took together."""
    good = [sample for sample in samples if sample.ok]
    tokens = sum(sample.completion_tokens or 0 for sample in good)
    speeds = [sample.tokens_per_second for sample in good]
    return {
        "requests": len(samples),
        "succeeded": len(good),
        "success_rate": round(len(good) / len(samples), 4) if samples else None,
        "seconds": round(seconds, 3),
        "requests_per_second": round(len(good) / seconds, 3) if seconds else None,
        "total_tokens_per_second": round(tokens / seconds, 3) if seconds else None,
        "prompt_tokens": sum(sample.prompt_tokens or 0 for sample in good),
        "completion_tokens": tokens,
        "ttft_ms": summarise([s.ttft_ms for s in good if s.ttft_ms is not None]),
        "inter_token_ms": summarise([gap for sample in good for gap in sample.gaps]),
        "duration_ms": summarise([sample.duration_ms for sample in good]),
        "tokens_per_second": summarise([speed for speed in speeds if speed is not None]),
    }


def profiles_of(*, key: str) -> QuerySet[ProfileRun]:
    """The profiles of a model; raises ModelNotFound."""
    model = registry.get(key=key)
    return ProfileRun.objects.filter(model=model).select_related("model", "version")


def get(*, profile_id: uuid.UUID) -> ProfileRun:
    """With its samples, which cost one more query."""
    row = (
        ProfileRun.objects.select_related("model", "version")
        .prefetch_related("samples")
        .filter(pk=profile_id)
        .first()
    )
    if row is None:
        raise NotFound(
            f"There is no profile {profile_id}.", code="profile_not_found", param="profile_id"
        )
    return row


def settings_from(arguments: Mapping[str, Any]) -> ProfileSettings:
    """The settings that a job's row holds."""
    return ProfileSettings(**arguments)

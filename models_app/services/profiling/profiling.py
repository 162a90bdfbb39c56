"""Measures a loaded model under known loads."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.dispatch import receiver
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import EngineError, InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.domain.measuring import figures
from models_app.domain.measuring.figures import Sample
from models_app.domain.states import JobKind
from models_app.domain.traffic.routing import Target
from models_app.models import Instance, Job, ProfileRun, ProfileSample, RegisteredModel
from models_app.providers.asking.measuring import Load, Measurement, sized
from models_app.services.catalog import lookup
from models_app.services.coordination import signals
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.jobs.jobs import Run
from models_app.services.profiling import comparing, environment, probing, spending, subjects
from models_app.services.rollups import performance

# Short questions of different kinds, so that a profile without its own prompts is close to usual traffic.
PROMPTS = (
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper.",
    "List five things to check before a long train journey.",
    "What is the difference between a list and a tuple in Python?",
    "Summarise what a water cycle is for a child of ten.",
)
# Between checks for a cancellation of the job.
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """requests       the number of requests of each stage
    concurrency    the number of requests in flight, one stage for each value
    warmup         the number of requests before the first stage, which are not measured
    prompt_tokens  the length to which prompts are filled up; None leaves them unchanged
    prompts        sent in rotation; empty for NOA's own
    ignore_eos     whether every answer has `max_tokens` tokens; None: if the model is local
    """

    requests: int = 10
    concurrency: Sequence[int] = (1,)
    max_tokens: int = 64
    warmup: int = 2
    prompt_tokens: int | None = None
    prompts: Sequence[str] = ()
    ignore_eos: bool | None = None

    def stored(self) -> dict[str, Any]:
        return asdict(self) | {"prompts": list(self.prompts), "concurrency": list(self.concurrency)}

    @property
    def digest(self) -> str:
        """A digest of the settings that influence a request; runs with the same digest are comparable."""
        same = [self.max_tokens, self.prompt_tokens, list(self.prompts), self.ignore_eos]
        return hashlib.sha256(orjson.dumps(same)).hexdigest()[:16]


def request(*, key: str, wanted: ProfileSettings, actor: str, key_id: str = "") -> tuple[Job, bool]:
    """A queued job and True, or the active job that does the same and False. The API key `key_id` pays for it.

    Raises InvalidRequest, ModelNotFound, Conflict for a model that is not loaded, or BudgetExceeded.
    """
    model = lookup.get(key=key)
    if not {Capability.CHAT_COMPLETION, Capability.TEXT_GENERATION} & set(model.capabilities):
        raise InvalidRequest(
            f"'{model.key}' does not generate text, and a profile measures the generation of text.",
            code="cannot_generate",
            param="key",
        )
    if wanted.prompts and wanted.prompt_tokens is not None:
        raise InvalidRequest(
            "Your own prompts are sent unchanged: omit 'prompt_tokens' or 'prompts'.",
            param="prompt_tokens",
        )
    subjects.require_loaded(model=model)
    spending.require_budget(model=model, key_id=key_id)
    return jobs.create(kind=JobKind.PROFILE, subject=model.key, arguments=wanted.stored(), actor=actor, key_id=key_id)


def profile(*, run: Run, key: str, wanted: ProfileSettings) -> None:
    """Send the requests of `wanted` and store every sample, and at the end the summary.

    A profile that is cancelled, or whose process dies, keeps its samples and stays incomplete.
    """
    model = lookup.get(key=key)
    instance, target = subjects.loaded(model=model)
    wanted = _decided(wanted, target)
    row = _begin(run, model, instance, target, wanted)
    run.result |= {"profile": str(row.pk), "key": model.key}
    load = _load(model, row, wanted)
    with run.step("warm up", f"{wanted.warmup} requests"):
        if wanted.prompt_tokens is not None:
            with spending.recorded(run, target) as sent:
                load = sized(target, load, sent, prompt_tokens=wanted.prompt_tokens)
        _warm_up(run, target, replace(load, requests=wanted.warmup, stage=-1))
    stages = [
        _stage(run, row, instance, target, replace(load, concurrency=concurrency, stage=number))
        for number, concurrency in enumerate(wanted.concurrency)
    ]
    with run.step("summarise"):
        _complete(run, row, stages)


def _decided(wanted: ProfileSettings, target: Target) -> ProfileSettings:
    local = target.remote is None
    if wanted.ignore_eos and not local:
        raise InvalidRequest(
            "'ignore_eos' is for local models: a provider's model ends its answers itself.",
            param="ignore_eos",
        )
    return replace(wanted, ignore_eos=local if wanted.ignore_eos is None else wanted.ignore_eos)


def _load(model: RegisteredModel, row: ProfileRun, wanted: ProfileSettings) -> Load:
    return Load(
        path=probing.path_of(model),
        requests=wanted.requests,
        concurrency=1,
        max_tokens=wanted.max_tokens,
        prompts=wanted.prompts or PROMPTS,
        whole_length=bool(wanted.ignore_eos),
        seed=str(row.pk),
    )


@transaction.atomic
def _begin(
    run: Run,
    model: RegisteredModel,
    instance: Instance,
    target: Target,
    wanted: ProfileSettings,
) -> ProfileRun:
    # A worker that stopped requeued the job, which now starts again.
    _cut(job_id=run.job.pk, why="The worker stopped; the job started again with another profile.")
    row = ProfileRun.objects.create(
        model=model,
        version=instance.version,
        job_id=run.job.pk,
        settings=wanted.stored(),
        settings_class=wanted.digest,
        environment=environment.of(instance, target),
    )
    loads = ", ".join(map(str, wanted.concurrency))
    events.publish(
        name=EventName.PROFILING_STARTED,
        subject=model.key,
        message=f"{model.key} is being profiled with {wanted.requests} requests, {loads} at a time.",
        actor=run.actor,
        cause="requested",
        job_id=run.job.pk,
        data={"profile": str(row.pk), "requests": wanted.requests},
    )
    return row


def _warm_up(run: Run, target: Target, load: Load) -> None:
    if load.requests:
        with spending.recorded(run, target) as sent, Measurement(target, load, sent) as measurement:
            for _ in measurement.batches(_POLL_SECONDS):
                run.check_cancelled()


def _stage(run: Run, row: ProfileRun, instance: Instance, target: Target, load: Load) -> dict[str, Any]:
    """Measure one stage and store its samples; returns its summary."""
    detail = f"{load.requests} requests, {load.concurrency} at a time"
    with (
        run.step("measure", detail),
        environment.watch(instance) as watch,
        spending.recorded(run, target) as sent,
        Measurement(target, load, sent) as measurement,
    ):
        samples = _samples(run, row, load, measurement)
    summary = figures.of_stage(samples, concurrency=load.concurrency)
    tokens = summary["completion_tokens"]
    return summary | environment.represent(watch.reading, tokens=tokens)


def _samples(run: Run, row: ProfileRun, load: Load, measurement: Measurement) -> list[Sample]:
    samples: list[Sample] = []
    stages = len(row.settings["concurrency"])
    for batch in measurement.batches(_POLL_SECONDS):
        ProfileSample.objects.bulk_create([_row_of(row, load, sample) for sample in batch])
        samples += batch
        run.progress((load.stage + len(samples) / load.requests) / stages)
    if len(samples) < load.requests:
        raise EngineError(
            f"The measurement ended after {len(samples)} of {load.requests} requests. The server's log has the reason.",
            code="profile_incomplete",
        )
    return samples


def _row_of(row: ProfileRun, load: Load, sample: Sample) -> ProfileSample:
    return ProfileSample(
        run=row,
        stage=sample.stage,
        concurrency=load.concurrency,
        number=sample.number,
        ok=sample.ok,
        error=sample.error[:255],
        prompt_tokens=sample.prompt_tokens,
        cached_tokens=sample.cached_tokens,
        completion_tokens=sample.completion_tokens,
        started_ms=sample.started_ms,
        ttft_ms=sample.ttft_ms,
        e2el_ms=sample.e2el_ms,
        gaps_ms=[figures.rounded(gap) for gap in sample.gaps],
    )


def _complete(run: Run, row: ProfileRun, stages: Sequence[dict[str, Any]]) -> None:
    """Writes summary and comparison in one transaction."""
    requests, succeeded = (sum(stage[name] for stage in stages) for name in ("requests", "succeeded"))
    row.summary = {
        "requests": requests,
        "succeeded": succeeded,
        "success_rate": round(succeeded / requests, 4) if requests else None,
        "load_seconds": row.environment["load_seconds"],
        "stages": stages,
    }
    row.environment |= {"after": environment.load_of_machine()}
    row.complete, row.finished_at = True, timezone.now()
    # Outside of the transaction: it takes up to a second, and would block other writers.
    comparing.with_baseline(run=row)
    with transaction.atomic():
        row.save()
        events.publish(
            name=EventName.PROFILING_COMPLETED,
            subject=row.model.key,
            message=f"{row.model.key} was profiled: {succeeded} of {requests} requests succeeded.",
            actor=run.actor,
            cause="requested",
            job_id=run.job.pk,
            data={"profile": str(row.pk), "summary": row.summary},
        )
        comparing.report_regression(run=row, actor=run.actor)
        first = row.summary["stages"][0]
        performance.fill(
            model=row.model,
            averages={
                "average_latency_ms": first["e2el_ms"]["mean"],
                "average_success_rate": first["success_rate"],
                "average_tokens_per_second": first["generation_tokens_per_second"]["mean"],
            },
        )
    run.result |= {"summary": row.summary, "comparison": row.comparison}


@receiver(signals.job_finished)
def _end_incomplete(job: Job, **_: Any) -> None:
    """Marks the unfinished profile of a job that has ended, also by a kill of its process."""
    if job.kind == JobKind.PROFILE:
        _cut(job_id=job.pk, why=job.error_message)


def _cut(*, job_id: uuid.UUID, why: str) -> None:
    """Mark the unfinished profile of this job as incomplete."""
    ProfileRun.objects.filter(job_id=job_id, finished_at=None).update(
        finished_at=timezone.now(), incomplete_reason=why[:500]
    )


def profiles(*, key: str | None = None, complete: bool | None = None) -> QuerySet[ProfileRun]:
    """Profiles of all models, or of one; raises ModelNotFound."""
    rows = ProfileRun.objects.select_related("model", "version", "compared_with")
    if key is not None:
        rows = rows.filter(model=lookup.get(key=key))
    return rows if complete is None else rows.filter(complete=complete)


def get(*, profile_id: uuid.UUID) -> ProfileRun:
    """The profile with its samples (two queries)."""
    row = profiles().prefetch_related("samples").filter(pk=profile_id).first()
    if row is None:
        raise NotFound(f"There is no profile {profile_id}.", code="profile_not_found", param="profile_id")
    return row


@transaction.atomic
def mark_baseline(*, profile_id: uuid.UUID, baseline: bool | None = None) -> ProfileRun:
    """Make a run the baseline of later runs of its class, or no longer; None changes nothing. At most one per class.

    Raises NotFound, or InvalidRequest for a run that is not complete.
    """
    row = get(profile_id=profile_id)
    if baseline is None:
        return row
    if baseline and not row.complete:
        raise InvalidRequest("Only a complete profile can be the baseline.", param="baseline")
    if baseline:
        ProfileRun.objects.filter(model=row.model, settings_class=row.settings_class, baseline=True).update(
            baseline=False
        )
    ProfileRun.objects.filter(pk=row.pk).update(baseline=baseline)
    row.baseline = baseline
    return row


def settings_from(arguments: Mapping[str, Any]) -> ProfileSettings:
    """The settings that a job's row holds."""
    return ProfileSettings(**arguments)

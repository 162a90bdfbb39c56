"""Probes the capabilities of a loaded model with real requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.states import JobKind
from models_app.domain.traffic.routing import Target
from models_app.models import Instance, Job, RegisteredModel
from models_app.providers.asking import context_length
from models_app.providers.asking.asking import Asker, Sent
from models_app.providers.asking.context_length import Measured
from models_app.providers.asking.probes import PROBES, Probe, Probed
from models_app.providers.outbound import CHAT
from models_app.services.catalog import lookup
from models_app.services.coordination import connections
from models_app.services.jobs import jobs
from models_app.services.jobs.jobs import Run
from models_app.services.profiling import spending, subjects
from models_app.services.registry import capabilities
from models_app.services.registry.capabilities import Finding


def request(
    *, key: str, wanted: Sequence[str], effective_context: bool | None, actor: str, key_id: str = ""
) -> tuple[Job, bool]:
    """A queued job and True, or the job that already does the same and False. The API key `key_id` pays for it.

    Raises InvalidRequest, ModelNotFound, Conflict for a model that is not loaded, or BudgetExceeded.
    """
    model = lookup.get(key=key)
    subjects.require_loaded(model=model)
    arguments: dict[str, Any] = {
        "capabilities": sorted(set(wanted)),
        "effective_context": effective_context,
    }
    spending.require_budget(model=model, key_id=key_id)
    return jobs.create(kind=JobKind.PROBE, subject=model.key, arguments=arguments, actor=actor, key_id=key_id)


def probe(*, run: Run, key: str, wanted: Sequence[str], effective_context: bool | None) -> None:
    """Probes these capabilities; without any, all with a probe that the model can have.

    effective_context  whether the longest prompt is measured. None: of a local model, when everything is probed;
                       a provider would charge for so many tokens.

    The verdicts of a cancelled job are stored too. Raises Conflict when the model is not loaded.
    """
    model = lookup.get(key=key)
    instance, target = subjects.loaded(model=model)
    chosen = _chosen(model, target, wanted)
    measures = effective_context
    if measures is None:
        measures = not wanted and target.remote is None
    findings: list[Finding] = []
    try:
        for number, capability in enumerate(chosen):
            with run.step("probe", str(capability)):
                connections.release()
                with spending.recorded(run, target) as sent:
                    probed = asyncio.run(_run(target, PROBES[capability], sent))
            findings.append(_finding(probed, subjects.engine_of(target)))
            run.progress((number + 1) / (len(chosen) + measures))
        if measures and _generates(model):
            with run.step("measure", "the longest prompt that is accepted and answered"):
                with spending.recorded(run, target) as sent:
                    measured = _measure(model, instance, target, sent)
                _add_context(findings, measured, instance, model)
    finally:
        _store(run, model, instance, findings)


def _chosen(model: RegisteredModel, target: Target, wanted: Sequence[str]) -> list[Capability]:
    if wanted:
        return [capability for capability in PROBES if capability in wanted]
    registered = model.capabilities
    if target.remote is not None:
        # Each request can cost money: only declared capabilities are probed.
        return [capability for capability in PROBES if capability in registered]
    return [capability for capability in PROBES if capability != Capability.VISION or capability in registered]


async def _run(target: Target, probe: Probe, sent: list[Sent]) -> Probed:
    async with Asker(target, sent=sent) as ask:
        return await probe(ask)


def _finding(probed: Probed, engine: str) -> Finding:
    return Finding(
        capability=probed.capability,
        verdict=probed.verdict,
        detail=probed.detail,
        request=dict(probed.request),
        request_digest=probed.digest,
        engine=engine,
    )


def _generates(model: RegisteredModel) -> bool:
    return bool({Capability.TEXT_GENERATION, Capability.CHAT_COMPLETION} & set(model.capabilities))


def _measure(model: RegisteredModel, instance: Instance, target: Target, sent: list[Sent]) -> Measured:
    upper = instance.context_tokens or model.context_window
    if not upper:
        why = "The length was not measured: the model's context window is unknown."
        return Measured(None, False, why)

    async def measure() -> Measured:
        async with Asker(target, sent=sent) as ask:
            return await context_length.measure(ask, path=path_of(model), upper=upper)

    connections.release()
    return asyncio.run(measure())


def path_of(model: RegisteredModel) -> str:
    """The operation by which this model generates text."""
    return CHAT if Capability.CHAT_COMPLETION in model.capabilities else "completions"


def _add_context(findings: list[Finding], measured: Measured, instance: Instance, model: RegisteredModel) -> None:
    """Add the measured length to the finding on text generation, whose verdict stays the same."""
    value = {
        "effective_context": measured.tokens,
        "limit_found": measured.whole,
        "loaded_context": instance.context_tokens,
        "claimed_context": model.context_window,
    }
    for number, finding in enumerate(findings):
        if finding.capability == Capability.TEXT_GENERATION:
            detail = f"{finding.detail} {measured.detail}"
            findings[number] = Finding(
                finding.capability,
                finding.verdict,
                detail,
                value,
                finding.request,
                finding.request_digest,
                finding.engine,
            )
            return
    verdict = Verdict.INCONCLUSIVE if measured.tokens is None else Verdict.SUPPORTED
    findings.append(Finding(Capability.TEXT_GENERATION, verdict, measured.detail, value))


def _store(run: Run, model: RegisteredModel, instance: Instance, findings: Iterable[Finding]) -> None:
    found = list(findings)
    changed = capabilities.record_probed(
        model=model,
        version=instance.version,
        findings=found,
        actor=run.actor,
        job_id=run.job.pk,
    )
    run.result |= {
        "key": model.key,
        "verdicts": {str(finding.capability): str(finding.verdict) for finding in found},
        "details": {str(finding.capability): finding.detail for finding in found},
        "changed": changed,
    }

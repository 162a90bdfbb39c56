"""The evidence for a model's capabilities: written and assessed here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog import capabilities as rules
from models_app.domain.catalog.capabilities import Capability, EvidenceSource, Verdict, Word
from models_app.domain.events import EventName
from models_app.models import CapabilityEvidence, ModelVersion, RegisteredModel
from models_app.models.registry import index_of
from models_app.services.events import events
from models_app.services.routes import routing


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one source for one capability; the fields are those of CapabilityEvidence."""

    capability: Capability
    verdict: Verdict
    detail: str
    value: dict[str, Any] | None = None
    request: Any = None
    request_digest: str = ""
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """One capability of one model, with all evidence for and against it."""

    capability: Capability
    supported: bool
    proven: bool
    evidence: list[CapabilityEvidence]


def assess(*, model: RegisteredModel) -> list[Assessment]:
    """All capabilities, in the order of the enumeration (one query)."""
    found: dict[str, list[CapabilityEvidence]] = {}
    for row in CapabilityEvidence.objects.filter(model=model).select_related("version"):
        found.setdefault(row.capability, []).append(row)
    registered = set(model.capabilities)
    return [
        _assessed(capability, found.get(capability, []), model, capability in registered) for capability in Capability
    ]


def _assessed(
    capability: Capability,
    rows: list[CapabilityEvidence],
    model: RegisteredModel,
    registered: bool,
) -> Assessment:
    words = [_word(row, model) for row in rows]
    return Assessment(
        capability=capability,
        supported=rules.is_supported(words, registered=registered),
        proven=rules.is_proven(words),
        evidence=rows,
    )


def is_stale(row: CapabilityEvidence, model: RegisteredModel) -> bool:
    """Whether it is about another version of the model than the present one. Declarations have no version."""
    return row.source != EvidenceSource.DECLARED and row.version_id != model.version_id


def _word(row: CapabilityEvidence, model: RegisteredModel) -> Word:
    return Word(row.source, row.verdict, fresh=not is_stale(row, model))


def record_metadata(*, model: RegisteredModel, version: ModelVersion, capabilities: Iterable[str]) -> None:
    """Record the capabilities that the header of this version shows. Call after `model.version` is set.

    Sets and writes `proven_index`; a later save of the model writes the same value.
    """
    shown = set(capabilities)
    findings = [
        Finding(
            capability,
            Verdict.SUPPORTED if capability in shown else Verdict.UNSUPPORTED,
            yes if capability in shown else no,
        )
        for capability, (yes, no) in rules.METADATA_SENTENCES.items()
    ]
    _record(model=model, source=EvidenceSource.METADATA, findings=findings, version=version)


def record_declared(*, model: RegisteredModel, capabilities: Iterable[str], detail: str = "") -> None:
    """Record the capabilities that the provider or the registration declares, in place of earlier declarations.

    `detail` is a sentence with the source of the declaration.
    """
    findings = [Finding(Capability(word), Verdict.SUPPORTED, detail) for word in sorted(set(capabilities))]
    with transaction.atomic():
        CapabilityEvidence.objects.filter(model=model, source=EvidenceSource.DECLARED).exclude(
            capability__in=[finding.capability for finding in findings]
        ).delete()
        _record(model=model, source=EvidenceSource.DECLARED, findings=findings, version=None)


@transaction.atomic
def record_probed(
    *,
    model: RegisteredModel,
    version: ModelVersion | None,
    findings: Iterable[Finding],
    actor: str,
    job_id: uuid.UUID,
) -> dict[str, dict[str, str]]:
    """Store the results of probes; returns `{capability: {"before", "after"}}` of the changed verdicts.

    An inconclusive probe does not replace a conclusive one of the same version.
    """
    events.take_lock()
    before = {item.capability: _verdict_so_far(item, model) for item in assess(model=model)}
    kept = [
        finding for finding in findings if finding.verdict != Verdict.INCONCLUSIVE or not before[finding.capability][1]
    ]
    _record(
        model=model,
        source=EvidenceSource.PROBED,
        findings=kept,
        version=version,
        job_id=job_id,
    )
    changed = {
        finding.capability: (earlier, finding.verdict)
        for finding in kept
        if finding.verdict != Verdict.INCONCLUSIVE
        and (earlier := before[finding.capability][0]) not in (None, finding.verdict)
    }
    if changed:
        _publish_changed(model, changed, actor=actor, job_id=job_id)
    return {word: {"before": str(old), "after": str(new)} for word, (old, new) in changed.items()}


def _verdict_so_far(assessment: Assessment, model: RegisteredModel) -> tuple[str | None, bool]:
    """The verdict so far, and whether a probe of the present version was conclusive."""
    words = [_word(row, model) for row in assessment.evidence]
    return rules.believed(words), rules.is_tested(words)


def _publish_changed(
    model: RegisteredModel,
    changed: Mapping[Capability, tuple[str | None, str]],
    *,
    actor: str,
    job_id: uuid.UUID | None,
) -> None:
    sentences = ", ".join(f"{word} from {old} to {new}" for word, (old, new) in changed.items())
    events.publish(
        name=EventName.CAPABILITIES_CHANGED,
        subject=model.key,
        message=f"A probe of {model.key} contradicts earlier evidence: {sentences}.",
        actor=actor,
        cause="probed",
        before={word: old for word, (old, _) in changed.items()},
        after={word: new for word, (_, new) in changed.items()},
        job_id=job_id,
    )


def _record(
    *,
    model: RegisteredModel,
    source: EvidenceSource,
    findings: Iterable[Finding],
    version: ModelVersion | None,
    job_id: uuid.UUID | None = None,
) -> None:
    now = timezone.now()
    rows = [
        CapabilityEvidence(
            model=model,
            source=source,
            version=version,
            job_id=job_id,
            checked_at=now,
            **{name: getattr(finding, name) for name in Finding.__dataclass_fields__},
        )
        for finding in findings
    ]
    with transaction.atomic():
        events.take_lock()
        CapabilityEvidence.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["model", "capability", "source"],
            update_fields=[
                "verdict",
                "detail",
                "value",
                "request",
                "request_digest",
                "engine",
                "version",
                "job_id",
                "checked_at",
            ],
        )
        _refresh_proven(model)


def _refresh_proven(model: RegisteredModel) -> None:
    """Updates the index of `GET /models?proven=true`: capabilities that probes of the present version have shown."""
    proven = CapabilityEvidence.objects.filter(
        model=model,
        source=EvidenceSource.PROBED,
        verdict=Verdict.SUPPORTED,
        version=model.version_id,
    ).values_list("capability", flat=True)
    index = index_of(sorted(proven))
    if index != model.proven_index:
        model.proven_index = index
        RegisteredModel.objects.filter(pk=model.pk).update(proven_index=index, updated_at=timezone.now())
        routing.bump()

"""Capabilities with their evidence, and the body of a probe."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.catalog.capabilities import Capability, EvidenceSource, Verdict
from models_app.models import CapabilityEvidence, RegisteredModel
from models_app.providers.asking.probes import PROBES
from models_app.services.registry import capabilities
from models_app.services.registry.capabilities import Assessment


class EvidenceOutput(serializers.Serializer[Any]):
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=[source.value for source in EvidenceSource]
    )
    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in Verdict])
    detail = serializers.CharField(allow_blank=True, help_text="The observation, in a sentence.")
    value = serializers.DictField(
        allow_null=True,
        help_text="A measured value, if there is one, such as `effective_context` in tokens.",
    )
    request = serializers.DictField(
        allow_null=True, help_text="Of a probe: the body that was sent, without the model's name."
    )
    request_digest = serializers.CharField(allow_null=True, help_text="Of a probe: equal digests are the same request.")
    engine = serializers.CharField(allow_blank=True, help_text="Of a probe: the engine that answered.")
    version = serializers.CharField(allow_null=True, help_text="SHA-256 of the file of the probed version.")
    stale = serializers.BooleanField(help_text="Whether it is about an earlier version of the model.")
    job_id = serializers.UUIDField(allow_null=True)
    checked_at = serializers.DateTimeField()


class CapabilityOutput(serializers.Serializer[Any]):
    capability = serializers.ChoiceField(choices=[word.value for word in Capability])
    supported = serializers.BooleanField(help_text="By a probe of the present version; without one, as registered.")
    proven = serializers.BooleanField(help_text="Whether a probe of the present version succeeded.")
    evidence = EvidenceOutput(many=True)


class CapabilitiesOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="SHA-256 of the model's file; null for a remote model.")
    effective_context = serializers.IntegerField(
        allow_null=True,
        help_text="Tokens of the longest prompt that was accepted and answered; null if not measured.",
    )
    capabilities = CapabilityOutput(many=True)


class ProbeInput(StrictInput):
    capabilities = serializers.ListField(
        child=serializers.ChoiceField(choices=[word.value for word in PROBES]),
        required=False,
        default=list,
        max_length=len(PROBES),
        help_text="The capabilities to probe; if omitted, all that the model can have.",
    )
    effective_context = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Search for the longest prompt too. If omitted: for a local model, when everything is probed.",
    )


def represent_capabilities(model: RegisteredModel, found: list[Assessment]) -> dict[str, Any]:
    values = [row.value or {} for one in found for row in one.evidence if _counts(row, model)]
    measured = [value["effective_context"] for value in values if "effective_context" in value]
    return {
        "key": model.key,
        "version": model.version.sha256 if model.version else None,
        "effective_context": measured[0] if measured else None,
        "capabilities": [
            {
                "capability": one.capability,
                "supported": one.supported,
                "proven": one.proven,
                "evidence": [_evidence(row, model) for row in one.evidence],
            }
            for one in found
        ],
    }


def _counts(row: CapabilityEvidence, model: RegisteredModel) -> bool:
    return row.source == EvidenceSource.PROBED and not capabilities.is_stale(row, model)


def _evidence(row: CapabilityEvidence, model: RegisteredModel) -> dict[str, Any]:
    return {
        "source": row.source,
        "verdict": row.verdict,
        "detail": row.detail,
        "value": row.value,
        "request": row.request,
        "request_digest": row.request_digest or None,
        "engine": row.engine,
        "version": row.version.sha256 if row.version else None,
        "stale": capabilities.is_stale(row, model),
        "job_id": row.job_id,
        "checked_at": row.checked_at,
    }

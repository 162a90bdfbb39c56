"""Bodies of load, unload and switch, estimates, and the history of a model."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.api.serializers.entries import LOAD_OPTIONS
from models_app.api.serializers.inputs import ModelNameInput
from models_app.api.serializers.names import NodeField, RouteField
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.ledger import LedgerCause, LedgerKind, LedgerOutcome
from models_app.domain.traffic.routing import CURRENT_ROUTE


@extend_schema_field(LOAD_OPTIONS | {"nullable": False})
class OptionsField(serializers.DictField):
    """Load options, which `models_app.domain.catalog.options` checks."""


class LoadInput(ModelNameInput):
    options = OptionsField(
        required=False,
        default=dict,
        help_text="n_ctx, slots, n_batch, n_threads, n_gpu_layers; NOA chooses omitted ones.",
    )
    node = NodeField(
        required=False,
        default="",
        max_length=63,
        help_text="Load an instance there, beside those on other nodes; if omitted, NOA chooses.",
    )
    fit = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Reduce the context if it would not fit into memory.",
    )
    dry_run = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Only estimate: answers 200 with the estimate, and changes nothing.",
    )

    def validate_options(self, value: dict[str, Any]) -> LoadOptions:
        return LoadOptions.parse(value)


class CandidateOutput(serializers.Serializer[Any]):
    """The assessment of one loaded model."""

    key = serializers.CharField()
    verdict = serializers.ChoiceField(choices=["goes", "stays", "waited for"])
    why = serializers.CharField()
    bytes = serializers.IntegerField(help_text="The memory that it uses.")
    idle_seconds = serializers.FloatField(help_text="Since its last request ended.")


class EstimateOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    verdict = serializers.ChoiceField(choices=["loaded", "fits", "would_evict", "would_wait", "refused", "unknown"])
    why = serializers.CharField(allow_blank=True)
    options = serializers.DictField(help_text="The options of the load.")
    context_tokens = serializers.IntegerField(allow_null=True)
    needs_bytes = serializers.IntegerField()
    needs_gpu_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField(help_text="Of the node's memory, or of its budget.")
    free_after_evicting_bytes = serializers.IntegerField(help_text="If everything that can be evicted were unloaded.")
    would_evict = CandidateOutput(many=True)
    others = CandidateOutput(many=True, help_text="The other loaded models, and why they stay.")
    largest_context = serializers.IntegerField(
        allow_null=True, help_text="`n_ctx` that would fit, where it is refused."
    )
    eta_seconds = serializers.FloatField(allow_null=True, help_text="Until it is ready; null where it is refused.")
    measured = serializers.BooleanField(help_text="Whether loads with the same file and options were measured before.")


class HistoryEntryOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    sentence = serializers.CharField(help_text="The entry and its reason, as a sentence for people.")
    kind = serializers.ChoiceField(choices=[word.value for word in LedgerKind])
    cause = serializers.ChoiceField(choices=[word.value for word in LedgerCause])
    outcome = serializers.ChoiceField(choices=[word.value for word in LedgerOutcome])
    actor = serializers.CharField(allow_blank=True)
    request_id = serializers.CharField(allow_blank=True)
    node = serializers.CharField(allow_blank=True)
    instance_id = serializers.UUIDField(allow_null=True)
    version = serializers.CharField(allow_blank=True, help_text="SHA-256 of the file.")
    job_id = serializers.UUIDField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)
    candidates = CandidateOutput(many=True, help_text="The loaded models that were considered.")
    predicted_bytes = serializers.IntegerField(allow_null=True)
    measured_bytes = serializers.IntegerField(allow_null=True)
    predicted_seconds = serializers.FloatField(allow_null=True)
    measured_seconds = serializers.FloatField(allow_null=True)
    # DRF's metaclass removes declared fields from the class: nothing is overridden.
    data = serializers.DictField()  # type: ignore[assignment]


class HistoryOutput(serializers.Serializer[Any]):
    history = HistoryEntryOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of older entries.")


class UnloadInput(ModelNameInput):
    node = NodeField(
        required=False,
        default="",
        max_length=63,
        help_text="Only the instance there; if omitted, all of them.",
    )


class SwitchInput(ModelNameInput):
    route = RouteField(required=False, default=CURRENT_ROUTE, max_length=64)
    keep_previous = serializers.BooleanField(
        required=False, default=False, help_text="Keep the previous target of the route loaded."
    )
    force = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Also move the route to a model that cannot answer what the route answered in the last day.",
    )

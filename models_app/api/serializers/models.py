"""Registered models. `models_app.api.representations` builds the answers; these describe them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.states import InstanceState, ModelStatus


def _capabilities(help_text: str) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.ChoiceField(choices=[word.value for word in Capability]),
        help_text=help_text,
    )


class VersionOutput(serializers.Serializer[Any]):
    sha256 = serializers.CharField(help_text="Of the file; for a model in several parts, of the first part.")
    path = serializers.CharField()
    size_bytes = serializers.IntegerField()
    quantization = serializers.CharField(allow_blank=True)
    architecture = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField(help_text="When NOA first saw this version.")


class VersionRecordOutput(VersionOutput):
    template_digest = serializers.CharField(
        allow_blank=True, help_text="SHA-256 of the chat template; empty without one."
    )
    current = serializers.BooleanField(help_text="Whether it is the model's present version.")


class VersionListOutput(serializers.Serializer[Any]):
    versions = VersionRecordOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of older versions.")


class FailureOutput(serializers.Serializer[Any]):
    stage = serializers.CharField(allow_blank=True)
    reason = serializers.CharField()


class ModelFailureOutput(FailureOutput):
    at = serializers.DateTimeField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(
        allow_null=True, help_text="When NOA loads the model again; null when it does not do so by itself."
    )


class InstanceRecordOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    node = serializers.CharField()
    state = serializers.ChoiceField(choices=[word.value for word in InstanceState])
    failure = FailureOutput(allow_null=True)
    options = serializers.DictField(help_text="The load options with which it was started.")
    context_tokens = serializers.IntegerField(allow_null=True)
    slots = serializers.IntegerField(allow_null=True)
    memory_bytes = serializers.IntegerField(allow_null=True, help_text="As last measured.")
    memory_estimate_bytes = serializers.IntegerField(allow_null=True)
    load_seconds = serializers.FloatField(allow_null=True)
    fingerprint = serializers.CharField(help_text="The `system_fingerprint` of its answers.")
    created_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    stopped_at = serializers.DateTimeField(allow_null=True)


class InstanceListOutput(serializers.Serializer[Any]):
    instances = InstanceRecordOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of older instances.")


class RatesOutput(serializers.Serializer[Any]):
    """US dollars per million tokens."""

    input = serializers.FloatField()
    output = serializers.FloatField()
    cached_input = serializers.FloatField(allow_null=True, help_text="null: the price of `input`.")
    cache_write = serializers.FloatField(allow_null=True, help_text="null: the price of `input`.")


class TierOutput(RatesOutput):
    above = serializers.IntegerField()


class PriceOutput(RatesOutput):
    tiers = TierOutput(
        many=True,
        required=False,
        help_text="Prices of all tokens of requests with more than `above` prompt tokens.",
    )
    # DRF's metaclass removes declared fields from the class: nothing is overridden.
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="Where the price comes from: `operator`, `provider` or `genai-prices`."
    )


class PerformanceOutput(serializers.Serializer[Any]):
    """Exponentially weighted averages of a model's requests; null before the first one."""

    total_inferences = serializers.IntegerField(help_text="All requests through the gateway.")
    average_latency_ms = serializers.FloatField(allow_null=True)
    tokens_per_second = serializers.FloatField(
        allow_null=True, help_text="Of one streamed answer, after its first token."
    )
    success_rate = serializers.FloatField(allow_null=True, help_text="0 to 1.")
    memory_bytes = serializers.IntegerField(allow_null=True, help_text="Of the loaded copy, as last measured.")
    last_benchmarked_at = serializers.DateTimeField(allow_null=True, help_text="The end of its last complete profile.")


class ModelOutput(serializers.Serializer[Any]):
    key = serializers.CharField(help_text="`<provider>:<model id>`")
    provider = serializers.CharField()
    model_id = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    description = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(choices=[word.value for word in ModelStatus])
    failure = ModelFailureOutput(allow_null=True, help_text="Why the status is `failed`.")
    deprecated = serializers.BooleanField()
    deprecation_note = serializers.CharField(allow_blank=True, help_text="Why, and what to use instead.")
    gone_at = serializers.DateTimeField(allow_null=True, help_text="When its provider stopped listing it.")
    wanted = serializers.BooleanField(help_text="Whether it is loaded again after a restart.")
    capabilities = _capabilities("Its capabilities.")
    proven = _capabilities("The capabilities that a probe of the present version has proven.")
    context_window = serializers.IntegerField(allow_null=True, help_text="Tokens.")
    max_output_tokens = serializers.IntegerField(allow_null=True)
    load_options = serializers.DictField(help_text="Options of the next load, for local models.")
    pinned = serializers.BooleanField(help_text="Whether it is never evicted, nor unloaded when idle.")
    priority = serializers.IntegerField(
        help_text="0 to 100; only models of lower or equal priority are evicted for it."
    )
    idle_ttl_seconds = serializers.IntegerField(
        allow_null=True, help_text="Unloaded after this time without a request; null: NOA_IDLE_TTL."
    )
    min_residency_seconds = serializers.IntegerField(
        allow_null=True, help_text="Loaded at least this long; null: NOA_MIN_RESIDENCY."
    )
    on_demand = serializers.BooleanField(help_text="Whether a request can load it.")
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.DictField(help_text="Your own data about the model.")
    price = PriceOutput(allow_null=True, help_text="null: unknown.")
    version = VersionOutput(allow_null=True, help_text="The file, for local models.")
    performance = PerformanceOutput(help_text="Figures of its recent requests.")
    access_count = serializers.IntegerField(
        help_text="Reads of this entry and requests to the model, this read included."
    )
    last_accessed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ModelListOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="The number of models on all pages.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    models = ModelOutput(many=True)


class CurrentOutput(serializers.Serializer[Any]):
    route = serializers.CharField()
    model = ModelOutput(allow_null=True)


class RegisteredOutput(serializers.Serializer[Any]):
    """The registered models, in the order of the request."""

    created = serializers.IntegerField(help_text="The number of new models.")
    updated = serializers.IntegerField(help_text="The number of models that were registered already.")
    models = ModelOutput(many=True)


class ImportedOutput(serializers.Serializer[Any]):
    dry_run = serializers.BooleanField(help_text="`true`: nothing was stored.")
    created = serializers.ListField(child=serializers.CharField(), help_text="Keys of new models.")
    updated = serializers.ListField(child=serializers.CharField(), help_text="Keys of changed models.")
    unchanged = serializers.IntegerField(help_text="The number of models that equal the document's.")
    removed = serializers.ListField(
        child=serializers.CharField(), help_text="Keys of models that the document does not name."
    )
    providers = serializers.ListField(
        child=serializers.CharField(), help_text="Slugs of providers that are new or changed."
    )
    routes = serializers.ListField(
        child=serializers.CharField(), help_text="Names of routes that are new, changed or removed."
    )

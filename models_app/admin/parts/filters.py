"""Filters whose choices come from small tables or constants: none scans a table that grows with the traffic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability
from models_app.models import ModelVersion, RegisteredModel

_SPANS = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
}
_OUTCOMES = {
    "ok": ("Answered", Q(status__gte=200, status__lt=400, aborted=False)),
    "refused": ("Refused (4xx)", Q(status__gte=400, status__lt=500)),
    "failed": ("Failed (5xx)", Q(status__gte=500)),
    "aborted": ("Cut off", Q(aborted=True)),
}
# A longer list is unusable as a filter: the search finds keys too.
_MODELS_SHOWN = 100


class CapabilityFilter(SimpleListFilter):
    title = "capability"
    parameter_name = "capability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(word.value, word.value.replace("_", " ")) for word in Capability]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RegisteredModel]) -> QuerySet[RegisteredModel]:
        word = self.value()
        return queryset.filter(capability_index__contains=f",{word},") if word else queryset


class QuantizationFilter(SimpleListFilter):
    title = "quantization"
    parameter_name = "quantization"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        known = ModelVersion.objects.exclude(quantization="").order_by("quantization")
        return [(word, word) for word in known.values_list("quantization", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RegisteredModel]) -> QuerySet[RegisteredModel]:
        word = self.value()
        return queryset.filter(version__quantization=word) if word else queryset


class _SinceFilter(SimpleListFilter):
    title = "time"
    parameter_name = "since"
    field: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, words) for name, (words, _) in _SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = _SPANS.get(self.value() or "")
        if span is None:
            return queryset
        return queryset.filter(**{f"{self.field}__gte": timezone.now() - span[1]})


class CreatedFilter(_SinceFilter):
    field = "created_at"


class StartedFilter(_SinceFilter):
    field = "started_at"


class ActedFilter(_SinceFilter):
    field = "at"


class OutcomeFilter(SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, words) for name, (words, _) in _OUTCOMES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        outcome = _OUTCOMES.get(self.value() or "")
        return queryset.filter(outcome[1]) if outcome else queryset


class ServedModelFilter(SimpleListFilter):
    """Choices come from the registry, not from the log."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = RegisteredModel.objects.order_by("key").values_list("key", flat=True)
        return [(key, key) for key in keys[:_MODELS_SHOWN]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        key = self.value()
        return queryset.filter(model_key=key) if key else queryset


class EndpointFilter(SimpleListFilter):
    title = "endpoint"
    parameter_name = "endpoint"
    # As the gateway names them in its records, and the kinds of jobs that send requests to a provider.
    endpoints = ("chat/completions", "completions", "embeddings", "messages", "responses", "profile", "probe")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in self.endpoints]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset.filter(endpoint=name) if name else queryset

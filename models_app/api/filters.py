"""Filters of the model list."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from models_app.domain.capabilities import Capability
from models_app.domain.states import ModelStatus
from models_app.models import RegisteredModel
from models_app.models.choices import choices_of


class ModelFilters(django_filters.FilterSet):
    provider = django_filters.CharFilter(field_name="provider__slug")
    status = django_filters.ChoiceFilter(choices=choices_of(ModelStatus))
    capability = django_filters.MultipleChoiceFilter(
        choices=choices_of(Capability), method="filter_capability", help_text="All that are named."
    )
    q = django_filters.CharFilter(method="filter_text", help_text="Part of the key or the name.")

    class Meta:
        model = RegisteredModel
        fields: list[str] = []

    def filter_capability(
        self, models: QuerySet[RegisteredModel], name: str, values: list[str]
    ) -> QuerySet[RegisteredModel]:
        for value in values:
            models = models.filter(capability_index__contains=f",{value},")
        return models

    def filter_text(
        self, models: QuerySet[RegisteredModel], name: str, value: str
    ) -> QuerySet[RegisteredModel]:
        return models.filter(Q(key__icontains=value) | Q(name__icontains=value))

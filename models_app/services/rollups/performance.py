"""The exponentially weighted averages of each model, updated with every batch of the access log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from models_app.domain.measuring import performance
from models_app.models import RegisteredModel
from models_app.services.rollups import rollups
from models_app.services.rollups.rollups import Totals
from models_app.services.rollups.summing import Cell

# Columns of the models.
_AVERAGES = ("average_latency_ms", "average_success_rate", "average_tokens_per_second")


def fold(cells: Mapping[Cell, rollups.Sums]) -> None:
    """Update the averages of the models of a batch. Call inside the batch's transaction."""
    models: dict[str, Totals] = {}
    for (_, key, _, _), sums in cells.items():
        rollups.merge(models.setdefault(key, Totals()), sums)
    models.pop("", None)
    sets = [
        f"{name} = CASE WHEN %s IS NULL THEN {name} WHEN {name} IS NULL THEN %s ELSE {name} + %s * (%s - {name}) END"
        for name in _AVERAGES
    ]
    table = connection.ops.quote_name(RegisteredModel._meta.db_table)
    with connection.cursor() as cursor:
        # The database computes from its own values: no row is read first.
        cursor.executemany(
            f"UPDATE {table} SET inference_count = inference_count + %s, {', '.join(sets)} WHERE key = %s",
            [_parameters(key, models[key]) for key in sorted(models)],
        )


def fill(*, model: RegisteredModel, averages: Mapping[str, float | None]) -> None:
    """Set the averages, by column, that no request has set yet, such as to those of a profile."""
    for name in _AVERAGES:
        if (value := averages.get(name)) is not None:
            RegisteredModel.objects.filter(pk=model.pk, **{f"{name}__isnull": True}).update(**{name: value})


def _parameters(key: str, totals: Totals) -> list[Any]:
    every = performance.weight(totals.requests)
    timed = performance.weight(sum(totals.ttfts.values()))
    speed = totals.timed_tokens * 1000 / totals.generation_ms if totals.generation_ms else None
    values = [
        (totals.duration_ms / totals.requests, every),
        (1 - totals.errors / totals.requests, every),
        (speed, timed),
    ]
    parameters: list[Any] = [totals.requests]
    for value, weight in values:
        parameters += [value, value, weight, value]
    return [*parameters, key]

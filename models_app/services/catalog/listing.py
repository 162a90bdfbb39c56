"""Reads of the registry: rows with every shown column of a model, without creating objects."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from models_app.domain.keys import ModelKey
from models_app.domain.states import InstanceState
from models_app.models import Instance, ModelVersion, ProfileRun, Recovery, RegisteredModel
from models_app.services.catalog import activity, lookup
from models_app.services.catalog.searching import Search
from models_app.services.coordination.prepared import PreparedQuery

Row = dict[str, Any]

COLUMNS = (
    "key",
    "provider__slug",
    "model_id",
    "name",
    "description",
    "status",
    "failure_stage",
    "failure_reason",
    "failed_at",
    "deprecated",
    "deprecation_note",
    "gone_at",
    "wanted",
    "capability_index",
    "proven_index",
    "context_window",
    "max_output_tokens",
    "load_options",
    "pinned",
    "priority",
    "idle_ttl_seconds",
    "min_residency_seconds",
    "on_demand",
    "tags",
    "metadata",
    "price",
    "version_id",
    "version__sha256",
    "version__path",
    "version__size_bytes",
    "version__quantization",
    "version__architecture",
    "version__created_at",
    "access_count",
    "last_accessed_at",
    "created_at",
    "updated_at",
    "inference_count",
    "average_latency_ms",
    "average_success_rate",
    "average_tokens_per_second",
)


def _measured() -> dict[str, Subquery]:
    """Columns from other tables: last profile, memory of the loaded copy, next attempt of its recovery."""
    profiles = ProfileRun.objects.filter(model=OuterRef("pk"), complete=True)
    ready = Instance.objects.filter(model=OuterRef("pk"), state=InstanceState.READY)
    recoveries = Recovery.objects.filter(model=OuterRef("pk"), due_at__isnull=False)
    return {
        "next_attempt_at": Subquery(recoveries.order_by("due_at").values("due_at")[:1]),
        "last_benchmarked_at": Subquery(profiles.order_by("-finished_at").values("finished_at")[:1]),
        "memory_bytes": Subquery(ready.order_by("-created_at").values("memory_bytes")[:1]),
    }


_MEASURED = _measured()
_ALL = (*COLUMNS, *_MEASURED)
_by_key = PreparedQuery(
    lambda: RegisteredModel.objects.filter(key="").order_by().annotate(**_MEASURED).values_list(*_ALL)
)


def row(*, key: str) -> Row:
    """One model. Raises InvalidRequest for a malformed key and ModelNotFound for an unknown one."""
    canonical = str(ModelKey.parse(key))
    found, unwritten = activity.with_unwritten(lambda: _by_key.rows(canonical), [canonical])
    if not found:
        raise lookup.not_found(canonical)
    return _with_accesses(dict(zip(_ALL, found[0], strict=True)), unwritten)


def counted(found: Row) -> Row:
    """The row with one more read, which is not in the database yet."""
    return found | {
        "access_count": found["access_count"] + 1,
        "last_accessed_at": timezone.now(),
    }


def rows(*, keys: list[str]) -> list[Row]:
    """The models with these keys, in this order."""

    def read() -> dict[str, Row]:
        models = RegisteredModel.objects.filter(key__in=keys).annotate(**_MEASURED)
        return {row["key"]: row for row in models.values(*_ALL)}

    found, unwritten = activity.with_unwritten(read, keys)
    return [_with_accesses(found[key], unwritten) for key in keys if key in found]


def _with_accesses(found: Row, unwritten: activity.Unwritten) -> Row:
    waiting = unwritten.get(found["key"])
    if waiting is not None:
        found["access_count"], found["last_accessed_at"] = activity.plus(
            found["access_count"], found["last_accessed_at"], waiting
        )
    return found


def page(*, search: Search, number: int, size: int) -> tuple[int, list[Row]]:
    """The number of models, and those of page `number`, counted from 1."""
    models = search.rows().values_list("key", flat=True)
    first = (number - 1) * size
    if search.is_all:
        return models.count(), rows(keys=list(models[first : first + size]))
    # The conditions, the costly part of a search, are evaluated once for both.
    keys = list(models)
    return len(keys), rows(keys=keys[first : first + size])


def versions(*, key: str) -> tuple[RegisteredModel, QuerySet[ModelVersion]]:
    """All versions of the model without their headers, which can be megabytes."""
    model = lookup.get(key=key)
    return model, ModelVersion.objects.filter(model=model).defer("header")


def instances(*, key: str) -> QuerySet[Instance]:
    """Every loaded copy of the model, past and present."""
    model = lookup.get(key=key)
    return Instance.objects.filter(model=model).select_related("model", "version").defer("version__header")

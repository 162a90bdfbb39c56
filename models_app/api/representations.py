"""Representations of models: plain dictionaries from the rows of `models_app.services.catalog.listing`."""

from __future__ import annotations

from typing import Any

from models_app.models import Instance, ModelVersion
from models_app.models.registry import words_of
from models_app.services.catalog.listing import Row

_AS_THEY_ARE = (
    "key",
    "model_id",
    "name",
    "description",
    "status",
    "deprecated",
    "deprecation_note",
    "gone_at",
    "wanted",
    "context_window",
    "max_output_tokens",
    "load_options",
    "tags",
    "metadata",
    "access_count",
    "last_accessed_at",
    "created_at",
    "updated_at",
    "pinned",
    "priority",
    "idle_ttl_seconds",
    "min_residency_seconds",
    "on_demand",
)
_VERSION = ("sha256", "path", "size_bytes", "quantization", "architecture", "created_at")
_PERFORMANCE = {
    "total_inferences": "inference_count",
    "average_latency_ms": "average_latency_ms",
    "tokens_per_second": "average_tokens_per_second",
    "success_rate": "average_success_rate",
    "memory_bytes": "memory_bytes",
    "last_benchmarked_at": "last_benchmarked_at",
}
_PRICES = ("input", "output", "cached_input", "cache_write")


def represent_model(row: Row) -> dict[str, Any]:
    """A model in the shape of `serializers.models.ModelOutput`."""
    return {name: row[name] for name in _AS_THEY_ARE} | {
        "provider": row["provider__slug"],
        "failure": _failure(row),
        "capabilities": words_of(row["capability_index"]),
        "proven": words_of(row["proven_index"]),
        "price": _price(row["price"]),
        "version": _version(row),
        "performance": {name: row[column] for name, column in _PERFORMANCE.items()},
    }


def _failure(row: Row) -> dict[str, Any] | None:
    if not row["failure_reason"]:
        return None
    return {
        "stage": row["failure_stage"],
        "reason": row["failure_reason"],
        "at": row["failed_at"],
        "next_attempt_at": row["next_attempt_at"],
    }


def _price(price: dict[str, Any] | None) -> dict[str, Any] | None:
    """The price with numbers; stored prices have decimal strings."""
    if price is None:
        return None
    represented = _amounts(price) | {"source": price.get("source", "operator")}
    if price.get("tiers"):
        represented["tiers"] = [_amounts(tier) | {"above": tier["above"]} for tier in price["tiers"]]
    return represented


def _amounts(rates: dict[str, Any]) -> dict[str, Any]:
    amounts = {name: rates.get(name) for name in _PRICES}
    return {name: None if amount is None else float(amount) for name, amount in amounts.items()}


def _version(row: Row) -> dict[str, Any] | None:
    if row["version_id"] is None:
        return None
    return {name: row[f"version__{name}"] for name in _VERSION}


def represent_version(version: ModelVersion, *, current: bool) -> dict[str, Any]:
    """A version in the shape of `serializers.models.VersionRecordOutput`."""
    return {name: getattr(version, name) for name in _VERSION} | {
        "template_digest": version.template_digest,
        "current": current,
    }


_INSTANCE = (
    "id",
    "node",
    "state",
    "options",
    "context_tokens",
    "slots",
    "memory_bytes",
    "memory_estimate_bytes",
    "load_seconds",
    "fingerprint",
    "created_at",
    "ready_at",
    "stopped_at",
)


def represent_instance(instance: Instance) -> dict[str, Any]:
    """An instance in the shape of `serializers.models.InstanceRecordOutput`."""
    failed = instance.failure_reason
    return {name: getattr(instance, name) for name in _INSTANCE} | {
        "key": instance.model.key,
        "failure": {"stage": instance.failure_stage, "reason": failed} if failed else None,
    }

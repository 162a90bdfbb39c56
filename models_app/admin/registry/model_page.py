"""The part above the form of a registered model: state, capabilities, figures, profiles, history."""

from __future__ import annotations

from typing import Any

from django.utils.safestring import SafeString

from models_app.admin.measuring import profile_badges
from models_app.admin.parts import badges, units
from models_app.admin.records.jobs import progress
from models_app.admin.registry import history
from models_app.domain.states import ACTIVE_JOB_STATES, LIVE_INSTANCE_STATES, ModelStatus
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import CapabilityEvidence, Instance, Job, ProfileRun, RegisteredModel
from models_app.services.providers import providers
from models_app.services.registry import capabilities
from models_app.services.reporting import statistics
from models_app.services.runners import logs, recovery

# Older ones are in the list of profiles.
_PROFILES_SHOWN = 6
_SENTENCES = {
    ModelStatus.AVAILABLE: ("quiet", "It is not loaded."),
    ModelStatus.LOADING: ("busy", "It is being loaded."),
    ModelStatus.LOADED: ("good", "It is loaded."),
    ModelStatus.UNLOADING: ("busy", "It is being unloaded."),
    ModelStatus.FAILED: ("bad", "It failed."),
}


def context(model: RegisteredModel) -> dict[str, Any]:
    """Template context. About ten queries, and one request to the runner of each loaded copy."""
    tone, sentence = _SENTENCES[ModelStatus(model.status)]
    return {
        "model": model,
        "tone": tone,
        "sentence": sentence,
        "route_names": sorted(route.name for route in model.routes.all()),
        "progress": _active_job(model),
        "facts": _facts(model),
        "copies": copies(model),
        "capabilities": _capabilities(model),
        "profiles": _profiles(model),
        "history": history.of_model(model.key),
        "next_attempt": _next_attempt(model),
        "is_local": not providers.is_remote(model.provider),
    }


def _active_job(model: RegisteredModel) -> dict[str, Any] | None:
    job = (
        Job.objects.filter(state__in=ACTIVE_JOB_STATES, subject__in=(model.key, *_routes(model)))
        .order_by("-created_at")
        .first()
    )
    return progress(job) if job else None


def _next_attempt(model: RegisteredModel) -> SafeString | str:
    when = recovery.next_attempt(model=model) if model.failure_reason else None
    return badges.moment(when) if when else ""


def _routes(model: RegisteredModel) -> list[str]:
    return [CURRENT_ROUTE, *(route.name for route in model.routes.all())]


def _facts(model: RegisteredModel) -> list[tuple[str, Any]]:
    version = model.version
    facts: list[tuple[str, Any]] = [("Context", f"{units.tokens(model.context_window)} tokens")]
    if version:
        facts += [
            ("Size", units.size(version.size_bytes)),
            ("Quantization", version.quantization or units.NOTHING),
            ("Architecture", version.architecture or units.NOTHING),
        ]
    facts += [
        ("Price", _price(model)),
        ("Requests", _times(model.access_count)),
        ("Last request", badges.ago(model.last_accessed_at)),
        ("Eviction", _eviction(model)),
    ]
    return facts


def _times(number: int) -> str:
    return {0: "never", 1: "once"}.get(number) or f"{units.count(number)} times"


def _price(model: RegisteredModel) -> str:
    price = model.price or {}
    if not {"input", "output"} <= price.keys():
        return "unknown"
    return f"${price['input']} in, ${price['output']} out per million tokens"


def _eviction(model: RegisteredModel) -> str:
    """The conditions of its eviction, in words."""
    if model.pinned:
        return "pinned: never evicted"
    text = f"priority {model.priority}"
    if model.idle_ttl_seconds is not None:
        text += f", unloaded after {units.seconds(model.idle_ttl_seconds)} without a request"
    return text


def copies(model: RegisteredModel) -> dict[str, Any]:
    """The loaded copies with the current figures of their runners."""
    rows = statistics.measured(
        list(Instance.objects.filter(model=model, state__in=LIVE_INSTANCE_STATES).select_related("model", "version"))
    )
    return {"model": model, "copies": [(copy, _figures(copy)) for copy in rows]}


def _figures(instance: Instance) -> dict[str, Any]:
    number: int | None = instance.in_flight  # type: ignore[attr-defined]
    return {
        "state": badges.instance_state(instance),
        "memory": units.size(instance.memory_bytes),
        "estimate": units.size(instance.memory_estimate_bytes),
        "in_flight": units.NOTHING if number is None else f"{number:,}",
        "context": units.tokens(instance.context_tokens),
        "slots": instance.slots or units.NOTHING,
        "loaded": units.seconds(instance.load_seconds),
        "used": badges.ago(instance.last_used_at or instance.ready_at),
    }


def _capabilities(model: RegisteredModel) -> dict[str, Any]:
    """Supported capabilities with their evidence, and those with evidence against them."""
    found = [
        (finding, _label(finding.capability), [_evidence(row, model) for row in finding.evidence])
        for finding in capabilities.assess(model=model)
    ]
    return {
        "has": [row for row in found if row[0].supported],
        "lacks": [row for row in found if row[2] and not row[0].supported],
    }


def _label(word: str) -> str:
    text = word.replace("_", " ").replace("json", "JSON")
    return text[0].upper() + text[1:]


def _evidence(row: CapabilityEvidence, model: RegisteredModel) -> tuple[SafeString, str, Any]:
    tones = {"supported": "good", "unsupported": "bad"}
    stale = " (of an older version)" if capabilities.is_stale(row, model) else ""
    source = f"{row.get_source_display()}{stale}"
    return (
        badges.badge(source, tones.get(row.verdict, "warn")),
        row.detail,
        badges.ago(row.checked_at),
    )


def _profiles(model: RegisteredModel) -> list[tuple[ProfileRun, Any]]:
    rows = ProfileRun.objects.filter(model=model).order_by("-started_at")[:_PROFILES_SHOWN]
    return [(run, profile_badges.row(run)) for run in rows]


def log_of(model: RegisteredModel) -> str | None:
    """The last lines of the runner's log, or the recorded reason of a failure; None without either."""
    newest = Instance.objects.filter(model=model).order_by("-created_at").first()
    if newest is None:
        return None
    return logs.tail(instance=newest) or newest.failure_reason or None

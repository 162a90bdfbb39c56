"""Updates the registry to the list of models of a remote provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.discovery import ProviderReport
from models_app.domain.errors import InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.keys import ModelKey, cleaned_model_id
from models_app.models import Event, Provider, RegisteredModel
from models_app.providers.wire.offers import Listing, Offer, ordered
from models_app.services.events import events
from models_app.services.jobs.jobs import Run
from models_app.services.providers import prices
from models_app.services.registry import capabilities
from models_app.services.routes import routing

_ACTOR = "discovery"
_MAX_REMOTE_ID = 255
# The columns that discovery writes; only an operator changes the others.
_COLUMNS = (
    "remote_id",
    "description",
    "context_window",
    "max_output_tokens",
    "capability_index",
    "price",
    "gone_at",
    "deprecated",
    "deprecation_note",
    "updated_at",
)
# A change of these is published as an event.
_PUBLISHED = ("context_window", "max_output_tokens", "capabilities", "price", "gone_at", "deprecated")
# Rows of one statement: far below the parameter limit of the databases.
_ROWS = 200


@dataclass(slots=True)
class _Changes:
    new: list[RegisteredModel] = field(default_factory=list)
    changed: list[RegisteredModel] = field(default_factory=list)
    facts: list[Event] = field(default_factory=list)
    # Models whose declared capabilities changed.
    declared: list[RegisteredModel] = field(default_factory=list)


def store(*, run: Run, provider: Provider, listing: Listing) -> ProviderReport:
    """Stores a whole list in one transaction: a few statements per 200 models, and for each with new declarations."""
    report = ProviderReport(refused=[{"name": entry["model"], "reason": entry["reason"]} for entry in listing.refused])
    # Before the lock is taken: reading takes 0.7 s.
    prices.read_data()
    with transaction.atomic():
        # Every change of models takes this lock, so none can happen between the comparison and the update.
        events.take_lock()
        changes = _Changes()
        _compare(run, provider, listing, changes, report)
        if changes.new or changes.changed:
            _store(provider, changes)
            routing.bump()
    return report


def _compare(run: Run, provider: Provider, listing: Listing, changes: _Changes, report: ProviderReport) -> None:
    now = timezone.now()
    known = list(RegisteredModel.objects.filter(provider=provider))
    by_name = {model.remote_id or model.model_id: model for model in known}
    taken = {model.model_id for model in known}
    named: set[str] = set()
    for offer in listing.offers:
        if offer.remote_id in named:
            continue
        named.add(offer.remote_id)
        model = by_name.get(offer.remote_id)
        if model is None:
            _register(run, provider, offer, taken, now, changes, report)
        else:
            _update(run, provider, model, offer, now, changes, report)
    for model in known:
        # A model that the list never named was registered by hand: the provider can serve it nevertheless.
        if model.remote_id and model.remote_id not in named and model.gone_at is None:
            _mark_gone(run, model, now, changes, report)
    report.found = len(report.new) + len(report.changed) + report.unchanged


def _register(
    run: Run,
    provider: Provider,
    offer: Offer,
    taken: set[str],
    now: datetime,
    changes: _Changes,
    report: ProviderReport,
) -> None:
    try:
        model_id = _model_id(offer.remote_id)
    except InvalidRequest as error:
        report.refuse(offer.remote_id[:80], error.message)
        return
    if model_id in taken:
        report.refuse(offer.remote_id[:80], f"Another model has the name '{model_id}' already.")
        return
    taken.add(model_id)
    model = RegisteredModel(
        provider=provider,
        model_id=model_id,
        key=str(ModelKey(provider.slug, model_id)),
        name=offer.name or model_id,
    )
    _describe(provider, model, offer, now)
    changes.new.append(model)
    if offer.capabilities is not None:
        changes.declared.append(model)
    changes.facts.append(
        _fact(run, model, EventName.MODEL_REGISTERED, "was found at its provider.", {}, _published(model))
    )
    report.new.append(model.key)


def _model_id(remote_id: str) -> str:
    """A model id that is valid in keys and URLs; llama-server, for example, names a model by its path."""
    if len(remote_id) > _MAX_REMOTE_ID or not remote_id.isprintable():
        raise InvalidRequest(f"Its name is longer than {_MAX_REMOTE_ID} characters or cannot be printed.")
    return cleaned_model_id(remote_id, "-._/:@+")


def _update(
    run: Run,
    provider: Provider,
    model: RegisteredModel,
    offer: Offer,
    now: datetime,
    changes: _Changes,
    report: ProviderReport,
) -> None:
    before, first_named = _published(model), not model.remote_id
    _describe(provider, model, offer, now)
    after = _published(model)
    differing = [name for name in _PUBLISHED if before[name] != after[name]]
    if not differing:
        report.unchanged += 1
        if first_named:
            changes.changed.append(model)
        return
    model.updated_at = now
    changes.changed.append(model)
    if "capabilities" in differing:
        changes.declared.append(model)
    what = f"was changed by its provider: {', '.join(differing)}."
    if before["gone_at"] is not None:
        what = "is in its provider's list again."
    fact = _fact(
        run,
        model,
        EventName.MODEL_UPDATED,
        what,
        {name: before[name] for name in differing},
        {name: after[name] for name in differing},
    )
    changes.facts.append(fact)
    report.changed.append(model.key)


def _describe(provider: Provider, model: RegisteredModel, offer: Offer, now: datetime) -> None:
    """Set the fields from the provider's list, else from the price data; fields in neither stay unchanged."""
    model.remote_id, model.gone_at = offer.remote_id, None
    model.description = model.description or offer.description or ""
    if offer.max_output_tokens is not None:
        model.max_output_tokens = offer.max_output_tokens
    if offer.capabilities is not None:
        model.capabilities = ordered(offer.capabilities)
    if offer.deprecation and not model.deprecated and not model.deprecation_note:
        model.deprecated, model.deprecation_note = True, offer.deprecation
    known = prices.NOTHING
    if offer.price is None or offer.context_window is None:
        known = prices.known(provider=provider, remote_id=offer.remote_id, at=now)
    window = offer.context_window or known.context_window
    if window is not None:
        model.context_window = window
    price = offer.price or known.price
    if price is not None and (model.price or {}).get("source") != "operator":
        model.price = price.as_dict()


def _published(model: RegisteredModel) -> dict[str, Any]:
    values = {name: getattr(model, name) for name in _PUBLISHED}
    return values | {"gone_at": model.gone_at.isoformat() if model.gone_at else None}


def _mark_gone(run: Run, model: RegisteredModel, now: datetime, changes: _Changes, report: ProviderReport) -> None:
    model.gone_at = model.updated_at = now
    changes.changed.append(model)
    changes.facts.append(_fact(run, model, EventName.MODEL_GONE, "is not in its provider's list any more.", None, None))
    report.gone.append(model.key)


def _fact(
    run: Run,
    model: RegisteredModel,
    name: EventName,
    what: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Event:
    return Event(
        name=name,
        subject=model.key,
        message=f"{model.key} {what}",
        actor=_ACTOR,
        cause="the provider's list",
        before=before or None,
        after=after,
        job_id=run.job.pk,
        data={},
    )


def _store(provider: Provider, changes: _Changes) -> None:
    RegisteredModel.objects.bulk_create(changes.new, batch_size=_ROWS)
    RegisteredModel.objects.bulk_update(changes.changed, _COLUMNS, batch_size=_ROWS)
    for model in changes.declared:
        capabilities.record_declared(
            model=model,
            capabilities=model.capabilities,
            detail=f"The list of models of '{provider.slug}' declares it.",
        )
    events.publish_many(changes.facts)

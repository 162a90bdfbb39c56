"""Routes, and the snapshot that the gateway serves from."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from models_app.domain.errors import Conflict, NoaError, NotFound
from models_app.domain.events import EventName
from models_app.domain.keys import checked_route_name
from models_app.domain.provider_kinds import FILE_KINDS
from models_app.domain.residency.demand import EVERYTHING, NOTHING, Permission
from models_app.domain.states import InstanceState
from models_app.domain.traffic import limits
from models_app.domain.traffic.routing import (
    CURRENT_ROUTE,
    KeyEntry,
    ModelEntry,
    RemoteEndpoint,
    Snapshot,
    Target,
)
from models_app.domain.traffic.texts import TextRule
from models_app.models import (
    ApiKey,
    Instance,
    Node,
    Provider,
    Recovery,
    RegisteredModel,
    Route,
    RouteChange,
    RoutingRevision,
)
from models_app.models import TextRule as StoredTextRule
from models_app.models.registry import words_of
from models_app.services.coordination import signals
from models_app.services.coordination.prepared import PreparedQuery
from models_app.services.events import events
from models_app.services.providers import providers
from models_app.services.routes import listed, suspects

logger = logging.getLogger(__name__)


def bump() -> None:
    """Mark the snapshot as outdated. Call inside the transaction that outdates it."""
    events.take_lock()
    changed = RoutingRevision.objects.filter(pk=RoutingRevision.SINGLETON).update(revision=F("revision") + 1)
    if not changed:
        RoutingRevision.objects.create(revision=1)
    # Listeners in this process read the new snapshot before the caller continues.
    transaction.on_commit(lambda: signals.routing_changed.send(sender=RoutingRevision))


# Every request to the API reads it, to check that the cached API keys are current.
_revision = PreparedQuery(lambda: RoutingRevision.objects.filter(pk=RoutingRevision.SINGLETON).values_list("revision"))


def revision() -> int:
    found = _revision.rows(RoutingRevision.SINGLETON)
    return int(found[0][0]) if found else 0


# Every process builds a snapshot at every change. Columns, not objects: there can be 10,000 models.
_models = PreparedQuery(
    lambda: RegisteredModel.objects.order_by("key").values_list(
        "pk", "key", "model_id", "provider__slug", "created_at", "capability_index", *listed.COLUMNS
    )
)
_routes = PreparedQuery(
    lambda: Route.objects.values_list("name", "target__key", "fallbacks", "load_on_demand", "may_evict")
)
_recoveries = PreparedQuery(
    lambda: Recovery.objects.filter(back_at__isnull=False).order_by("-back_at").values_list("model_id", "back_at")
)
# A local model is a file; one that has never been read has no version.
_loadables = PreparedQuery(
    lambda: RegisteredModel.objects.filter(
        ~Q(provider__kind__in=FILE_KINDS) | Q(version__isnull=False),
        on_demand=True,
        gone_at=None,
        provider__enabled=True,
    ).values_list("pk")
)


def snapshot() -> Snapshot:
    """Everything that the gateway needs, consistent at one revision (seven queries).

    Not one transaction: on SQLite that would take the lock of writers. Every change increments the revision in its
    own transaction, so data that was read between two equal revisions is consistent.
    """
    number = revision()
    while True:
        found = _read_snapshot(number)
        now = revision()
        if now == number:
            return found
        number = now


def _read_snapshot(number: int) -> Snapshot:
    targets = _targets(Instance.objects.all())
    back_at = _back_at()
    loadable = _loadable()
    short_names: dict[str, str] = {}
    rows = _models.rows()
    for _, key, model_id, *_ in sorted(rows, key=lambda row: (row[4], row[0])):
        short_names.setdefault(model_id, key)
    models = {
        key: ModelEntry(
            key=key,
            model_id=model_id,
            provider=provider,
            created=int(created_at.timestamp()),
            target=copies[0] if (copies := targets.get(pk)) else None,
            others=copies[1:] if copies else (),
            back_at=back_at.get(pk),
            permission=EVERYTHING if pk in loadable else NOTHING,
            capabilities=_capabilities(capabilities),
            facts=listed.facts(*columns),
        )
        for pk, key, model_id, provider, created_at, capabilities, *columns in rows
    }
    routes = _routes.rows()
    suspicions = suspects.suspicions()
    return Snapshot(
        revision=number,
        routes={name: key for name, key, *_ in routes},
        fallbacks={name: tuple(keys) for name, _, keys, *_ in routes if keys},
        permissions={name: Permission(load, evict) for name, _, _, load, evict in routes if not (load and evict)},
        models=models,
        killers=suspicions.killers,
        trials=suspicions.trials,
        keys=_keys(),
        text_rules=_text_rules(),
        short_names=short_names,
    )


def _back_at() -> dict[int, float]:
    """The times at which models in recovery should serve again, in Unix seconds, by the model's id."""
    # With several nodes, the earliest time comes last and overwrites the others.
    return {pk: moment.timestamp() for pk, moment in _recoveries.rows()}


def _loadable() -> set[int]:
    """The ids of the models that a request can load; none if loading on demand is disabled."""
    if not settings.NOA_ON_DEMAND:
        return set()
    return {pk for (pk,) in _loadables.rows()}


@lru_cache(maxsize=256)
def _capabilities(index: str) -> frozenset[str]:
    return frozenset(words_of(index))


def target(*, model: RegisteredModel) -> Target | None:
    """The target of requests for this model; None while it is not loaded, or its provider is not usable."""
    return next(iter(_targets(Instance.objects.filter(model=model)).get(model.pk, ())), None)


def _targets(instances: QuerySet[Instance]) -> dict[int, tuple[Target, ...]]:
    """The targets by the model's id, those of this machine first."""
    ready = list(
        instances.filter(state=InstanceState.READY).select_related("model__provider", "version").order_by("created_at")
    )
    endpoints = _endpoints(instance.model.provider for instance in ready)
    addresses = _addresses(ready)
    found: dict[int, list[Target]] = {}
    for instance in sorted(ready, key=lambda instance: instance.node in addresses):
        target = _target(instance, endpoints, addresses)
        if target is not None:
            found.setdefault(instance.model_id, []).append(target)
    return {pk: _counted(targets) for pk, targets in found.items()}


def _addresses(ready: Iterable[Instance]) -> dict[str, str]:
    """The addresses of nodes whose runners are reached through their proxy. A single machine needs no query for it."""
    names = {instance.node for instance in ready if instance.version_id} - {settings.NOA_NODE}
    if not names:
        return {}
    rows = Node.objects.filter(name__in=names).exclude(address="")
    return dict(rows.values_list("name", "address"))


def _counted(targets: list[Target]) -> tuple[Target, ...]:
    if len(targets) == 1:
        return tuple(targets)
    return tuple(dataclasses.replace(target, copies=len(targets)) for target in targets)


def _target(instance: Instance, endpoints: dict[int, RemoteEndpoint], addresses: dict[str, str]) -> Target | None:
    """The target of an instance; None while its provider is not usable."""
    model = instance.model
    remote = None
    if providers.is_remote(model.provider):
        found = endpoints.get(model.provider_id)
        if found is None:
            return None
        remote = dataclasses.replace(found, model_id=providers.name_at_provider(model))
    return Target(
        key=model.key,
        instance_id=str(instance.pk),
        socket=instance.socket,
        capabilities=frozenset(model.capabilities),
        remote=remote,
        version=instance.version.sha256[:12] if instance.version else "",
        node="" if remote else instance.node,
        price=listed.price_of(model.key, model.price),
        address=addresses.get(instance.node, ""),
        context_tokens=instance.context_tokens,
    )


def _endpoints(used: Iterable[Provider]) -> dict[int, RemoteEndpoint]:
    """The endpoints of enabled remote providers, by id. An unreadable secret affects only its provider's models."""
    found: dict[int, RemoteEndpoint] = {}
    # Each provider once: its secret must be decrypted.
    for provider in {provider.pk: provider for provider in used}.values():
        if not provider.enabled or not providers.is_remote(provider):
            continue
        try:
            found[provider.pk] = providers.endpoint(provider)
        except NoaError as error:
            logger.warning("The provider '%s' is not usable: %s", provider.slug, error.message)
    return found


def _text_rules() -> dict[str, TextRule]:
    return {
        subject: TextRule(share, max_bytes, days)
        for subject, share, max_bytes, days in StoredTextRule.objects.values_list(
            "subject", "share", "max_bytes", "days"
        )
    }


def _keys() -> dict[str, KeyEntry]:
    return {
        key.digest: KeyEntry(
            key_id=key.key_id,
            scopes=frozenset(key.scopes),
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
            allowed_models=frozenset(key.allowed_models),
            permission=Permission(key.load_on_demand, key.may_evict),
            limits=limits.effective(key.limits, settings.NOA_KEY_LIMITS),
        )
        for key in ApiKey.objects.usable()
    }


def get(*, name: str = CURRENT_ROUTE) -> Route:
    """The route with this name; `current` is created on first use."""
    checked_route_name(name)
    if name == CURRENT_ROUTE:
        return Route.objects.select_related("target").get_or_create(name=CURRENT_ROUTE)[0]
    route = Route.objects.select_related("target").filter(name=name).first()
    if route is None:
        raise NotFound(f"There is no route '{name}'.", code="route_not_found", param="route")
    return route


@transaction.atomic
def repoint(
    *,
    route: Route,
    model: RegisteredModel,
    actor: str,
    cause: str = "requested",
    job_id: uuid.UUID | None = None,
) -> str:
    """Move a route to a ready model; returns the key of its previous target, or ''.

    Raises Conflict when the model has no ready instance: a route never moves to a model that cannot answer.
    """
    if not Instance.objects.filter(model=model, state=InstanceState.READY).exists():
        raise Conflict(
            f"'{model.key}' is not loaded any more, so '{route.name}' was not moved to it.",
            code="model_not_loaded",
        )
    # Read again under the lock that the first write of this transaction takes.
    bump()
    row = Route.objects.select_related("target").filter(pk=route.pk).first()
    if row is None:
        raise NotFound(
            f"The route '{route.name}' was deleted meanwhile.",
            code="route_not_found",
            param="route",
        )
    previous = row.target.key if row.target else ""
    Route.objects.filter(pk=route.pk).update(target=model, updated_at=timezone.now())
    RouteChange.objects.create(route=row, previous_key=previous, key=model.key, actor=actor, job_id=job_id)
    events.publish(
        name=EventName.MODEL_SWITCHED,
        subject=model.key,
        message=f"'{route.name}' moved from {previous or 'nothing'} to {model.key}.",
        actor=actor,
        cause=cause,
        before={"route": route.name, "key": previous or None},
        after={"route": route.name, "key": model.key},
        job_id=job_id,
        data={"route": route.name},
    )
    return previous

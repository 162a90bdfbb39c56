"""Imports an exported registry, atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.entries import Entry
from models_app.domain.catalog.registry_file import (
    Document,
    ModelFile,
    ModelLine,
    ProviderEntry,
    RouteEntry,
)
from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.states import InstanceState
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import (
    Event,
    Instance,
    ModelVersion,
    Provider,
    RegisteredModel,
    Route,
    RouteChange,
)
from models_app.services.catalog import lookup
from models_app.services.events import events
from models_app.services.providers import providers
from models_app.services.registry import provider_settings, registration
from models_app.services.registry.provider_settings import FROM_ENVIRONMENT
from models_app.services.registry.registration import at
from models_app.services.routes import routes, routing

# Rows of one statement. SQLite takes 250,000 parameters at once; updates name every column of every row twice.
_ROWS = 500
_UPDATED_ROWS = 100
_CAUSE = "import"


class Mode(StrEnum):
    """`merge` keeps entries that the document does not name; `replace` removes them."""

    MERGE = "merge"
    REPLACE = "replace"


@dataclass(slots=True)
class Report:
    """The outcome: keys of models, slugs of providers, names of routes."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    providers: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)


def take_in(*, document: Document, mode: Mode, dry_run: bool, actor: str) -> Report:
    """Import a document. Returns the changes, also with `dry_run`, which makes none.

    Raises InvalidRequest, or Conflict where a model to remove is in use, or where a route with a loaded target would
    be moved to a model that is not loaded.
    """
    taken = _Import(mode, actor)
    with transaction.atomic():
        routing.bump()
        taken.take_providers(document.providers)
        taken.take_models(document.models)
        taken.take_routes(document.routes)
        if mode == Mode.REPLACE:
            taken.remove_the_rest(document)
        events.publish_many(taken.facts)
        if dry_run:
            transaction.set_rollback(True)
    return taken.report


class _Import:
    def __init__(self, mode: Mode, actor: str) -> None:
        self.report = Report()
        self.facts: list[Event] = []
        self._mode = mode
        self._actor = actor

    def _record(self, name: EventName, subject: str, message: str, before: Any = None, after: Any = None) -> None:
        self.facts.append(
            Event(
                name=name,
                subject=subject,
                message=message,
                actor=self._actor,
                cause=_CAUSE,
                before=before,
                after=after,
            )
        )

    # Providers

    def take_providers(self, items: list[ProviderEntry]) -> None:
        lookup.local_provider()
        known = {provider.slug: provider for provider in Provider.objects.all()}
        for index, entry in enumerate(items):
            with at(f"providers[{index}]."):
                self._provider(entry, known.get(entry.slug))

    def _provider(self, entry: ProviderEntry, known: Provider | None) -> None:
        settings = entry.settings
        if known is None:
            provider_settings.add(slug=entry.slug, settings=settings, actor=self._actor)
            self.report.providers.append(entry.slug)
            return
        if known.kind != settings.kind:
            raise InvalidRequest(
                f"'{entry.slug}' is a provider of kind '{known.kind}' here, and of kind '{settings.kind}' in the"
                " document. Rename one of them.",
                param="kind",
            )
        if not providers.is_remote(known) and settings.base_url:
            raise InvalidRequest(
                f"'{entry.slug}' is the provider of this machine's files here, and a server in the document. Rename"
                " that one.",
                param="base_url",
            )
        if known.origin == FROM_ENVIRONMENT:
            return
        provider_settings.check_change(provider=known, settings=settings)
        before = known.updated_at
        provider_settings.store(provider=known, settings=settings, actor=self._actor, cause=_CAUSE)
        if known.updated_at != before:
            self.report.providers.append(entry.slug)

    # Models

    def take_models(self, items: list[ModelLine]) -> None:
        by_slug = {provider.slug: provider for provider in Provider.objects.all()}
        known = {model.key: model for model in RegisteredModel.objects.all()}
        new: list[tuple[RegisteredModel, ModelFile | None]] = []
        changed: list[RegisteredModel] = []
        for index, line in enumerate(items):
            with at(f"models[{index}]."):
                provider = by_slug.get(line.entry.key.provider) or lookup.provider(slug=line.entry.key.provider)
                registration.check_fits(line.entry, provider)
                model = known.get(str(line.entry.key))
                if model is None:
                    new.append((self._new_model(line.entry, provider), line.file))
                elif self._changes_model(model, line.entry):
                    changed.append(model)
        _store_new(new)
        RegisteredModel.objects.bulk_update(changed, [*_COLUMNS, "updated_at"], batch_size=_UPDATED_ROWS)

    def _new_model(self, entry: Entry, provider: Provider) -> RegisteredModel:
        key = str(entry.key)
        model = RegisteredModel(provider=provider, model_id=entry.key.model_id, key=key, name=entry.key.model_id)
        registration.set_fields(model, entry.fields)
        self.report.created.append(key)
        self._record(EventName.MODEL_REGISTERED, key, f"{key} was imported.", after=dict(entry.fields))
        return model

    def _changes_model(self, model: RegisteredModel, entry: Entry) -> bool:
        before, after = _difference(model, entry.fields)
        if not after:
            self.report.unchanged += 1
            return False
        registration.set_fields(model, after)
        model.updated_at = timezone.now()
        self.report.updated.append(model.key)
        deprecated = bool(after.get("deprecated"))
        name = EventName.MODEL_DEPRECATED if deprecated else EventName.MODEL_UPDATED
        message = f"{model.key} was changed by an import: {', '.join(after)}."
        self._record(name, model.key, message, before, after)
        return True

    # Routes

    def take_routes(self, items: list[RouteEntry]) -> None:
        known = {route.name: route for route in Route.objects.select_related("target")}
        models = {model.key: model for model in RegisteredModel.objects.only("key")}
        ready = set(Instance.objects.filter(state=InstanceState.READY).values_list("model_id", flat=True))
        for index, entry in enumerate(items):
            with at(f"routes[{index}]."):
                self._route(entry, known.get(entry.name), models, ready)

    def _route(
        self,
        entry: RouteEntry,
        known: Route | None,
        models: Mapping[str, RegisteredModel],
        ready: set[int],
    ) -> None:
        for name, key in [("target", entry.target), *(("fallbacks", k) for k in entry.fallbacks)]:
            if key is not None and key not in models:
                raise InvalidRequest(
                    f"No model '{key}' is registered here or in the document.",
                    code="unknown_target",
                    param=name,
                )
        route = known or Route(name=entry.name)
        before = routes.represent(route) if known else None
        target = models[entry.target] if entry.target else None
        _refuse_unloaded_target(route, target, ready)
        previous = route.target.key if route.target else ""
        route.target = target
        route.fallbacks, route.description = list(entry.fallbacks), entry.description
        after = routes.represent(route)
        if after == before:
            return
        route.save()
        if previous != (entry.target or ""):
            RouteChange.objects.create(route=route, previous_key=previous, key=entry.target or "", actor=self._actor)
        self.report.routes.append(route.name)
        message = f"The route '{route.name}' was imported."
        self._record(EventName.ROUTE_CHANGED, route.name, message, before, after)

    # Entries that the document does not name

    def remove_the_rest(self, document: Document) -> None:
        kept_routes = {route.name for route in document.routes} | {CURRENT_ROUTE}
        for route in Route.objects.select_related("target").exclude(name__in=kept_routes):
            before = routes.represent(route)
            name = route.name
            route.delete()
            self.report.routes.append(name)
            message = f"The route '{name}' is not in the imported registry."
            self._record(EventName.ROUTE_DELETED, name, message, before)
        kept = {str(line.entry.key) for line in document.models}
        for model in [row for row in RegisteredModel.objects.order_by("key") if row.key not in kept]:
            self.report.removed.append(model.key)
            message = f"{model.key} is not in the imported registry."
            self._record(EventName.MODEL_DEREGISTERED, model.key, message, registration.remove(model=model))
        self._remove_providers({provider.slug for provider in document.providers})

    def _remove_providers(self, kept: set[str]) -> None:
        """Remove providers without models; those that the environment or NOA itself created stay."""
        idle = Provider.objects.filter(models=None).exclude(origin=FROM_ENVIRONMENT)
        for provider in idle.exclude(slug__in=kept):
            if providers.is_remote(provider):
                self.report.providers.append(provider.slug)
                provider_settings.delete(provider=provider, actor=self._actor, cause=_CAUSE)


_COLUMNS = (
    "name",
    "description",
    "capability_index",
    "context_window",
    "max_output_tokens",
    "tags",
    "tag_index",
    "metadata",
    "price",
    "load_options",
    "deprecated",
    "deprecation_note",
    "pinned",
    "priority",
    "idle_ttl_seconds",
    "min_residency_seconds",
    "on_demand",
)


def _difference(row: Any, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The present and the new values of `row`, where the two differ."""
    after = {name: value for name, value in fields.items() if getattr(row, name) != value}
    return {name: getattr(row, name) for name in after}, after


def _store_new(new: Iterable[tuple[RegisteredModel, ModelFile | None]]) -> None:
    new = list(new)
    RegisteredModel.objects.bulk_create([model for model, _ in new], batch_size=_ROWS)
    versions = [
        ModelVersion(
            model=model,
            sha256=file.sha256,
            path=file.path,
            size_bytes=file.size_bytes,
            # Matches no file, so that the file is found and read before the model is loaded.
            file_mtime_ns=0,
            quantization=file.quantization,
            architecture=file.architecture,
            template_digest=file.template_digest,
        )
        for model, file in new
        if file is not None
    ]
    ModelVersion.objects.bulk_create(versions, batch_size=_ROWS)
    for version in versions:
        version.model.version = version
    RegisteredModel.objects.bulk_update([version.model for version in versions], ["version"], batch_size=_ROWS)


def _refuse_unloaded_target(route: Route, target: RegisteredModel | None, ready: set[int]) -> None:
    """Raises Conflict for a route with a loaded target that would get one that is not loaded."""
    if route.target_id not in ready or (target is not None and target.pk in ready):
        return
    if target is None or target.pk != route.target_id:
        raise Conflict(
            f"'{route.name}' leads to a loaded model, and would lead to {target.key if target else 'none'}, which is"
            " not loaded. Load that model first, or remove the route from the document.",
            code="model_not_loaded",
            param="target",
        )

"""Registering models, changing their entries, and deregistering them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from models_app.domain.catalog import entries
from models_app.domain.catalog.entries import Entry
from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.errors import Conflict, InvalidRequest, NoaError
from models_app.domain.events import EventName
from models_app.domain.states import ACTIVE_JOB_STATES, LIVE_INSTANCE_STATES
from models_app.engines import gguf
from models_app.models import Instance, Job, Provider, RegisteredModel, Route
from models_app.services.catalog import lookup
from models_app.services.events import events
from models_app.services.providers import providers
from models_app.services.registry import capabilities, local_discovery
from models_app.services.routes import routing

_REQUESTED = "requested"


@contextmanager
def at(place: str) -> Iterator[None]:
    """Prefixes errors with their place in the body, for example `models[3].`."""
    try:
        yield
    except NoaError as error:
        if place and not (error.param or "").startswith(place):
            error.param = f"{place}{error.param or ''}".rstrip(".")
        if place:
            error.message = f"{place.rstrip('.')}: {error.message}"
        raise


def register(*, given: Sequence[Entry], actor: str, places: Sequence[str] | None = None) -> list[tuple[str, bool]]:
    """Register all entries or none. Returns each key and whether it is new, in the order of the entries.

    A registered model is updated; its accesses and the date of its registration stay. Raises InvalidRequest, NotFound
    for a provider, or ModelFileError; `places` are the paths of the entries in the body.
    """
    named = list(zip(places or [""] * len(given), given, strict=True))
    _refuse_twice(named)
    by_slug = _providers_of(named)
    for place, entry in named:
        with at(place):
            check_fits(entry, by_slug[entry.key.provider])
    # Files are read before anything is locked: reading large ones takes long.
    files = [_read_file(entry, place) for place, entry in named]
    with transaction.atomic():
        routing.bump()
        found = _providers_of(named)
        known = RegisteredModel.objects.select_related("provider").in_bulk(
            [str(entry.key) for entry in given], field_name="key"
        )
        done = []
        for (place, entry), file in zip(named, files, strict=True):
            with at(place):
                model = known.get(str(entry.key))
                if model is None:
                    _create(entry, found[entry.key.provider], file, actor)
                else:
                    _renew(model, entry, file, actor)
                done.append((str(entry.key), model is None))
    return done


def _refuse_twice(named: Sequence[tuple[str, Entry]]) -> None:
    seen: set[str] = set()
    for place, entry in named:
        if str(entry.key) in seen:
            raise InvalidRequest(
                f"{place.rstrip('.')}: '{entry.key}' is named twice.",
                code="named_twice",
                param=f"{place}key",
            )
        seen.add(str(entry.key))


def _providers_of(named: Sequence[tuple[str, Entry]]) -> dict[str, Provider]:
    """By slug; raises NotFound for an unknown provider."""
    if any(entry.key.provider == lookup.LOCAL_SLUG for _, entry in named):
        lookup.local_provider()
    slugs = {entry.key.provider for _, entry in named}
    found = {provider.slug: provider for provider in Provider.objects.filter(slug__in=slugs)}
    for place, entry in named:
        if entry.key.provider not in found:
            with at(place):
                lookup.provider(slug=entry.key.provider)
    return found


def _read_file(entry: Entry, place: str) -> GgufMetadata | None:
    if entry.path is None:
        return None
    with at(place):
        try:
            return gguf.inspect(Path(entry.path), roots=settings.NOA_MODEL_ROOTS)
        except NoaError as error:
            error.param = error.param or "path"
            raise


def _create(entry: Entry, provider: Provider, file: GgufMetadata | None, actor: str) -> None:
    if file is None and not providers.is_remote(provider):
        raise InvalidRequest(
            f"'{entry.key}' is a local model: set 'path' to its GGUF file in a model folder. POST"
            " /api/v1/models/discover also registers the files of these folders.",
            param="path",
        )
    model = RegisteredModel(provider=provider, model_id=entry.key.model_id, key=str(entry.key), name=entry.key.model_id)
    if file is None:
        model.save()
    else:
        model.name = ""
        model.save()
        local_discovery.describe(model, Path(entry.path or ""), file)
    _store(model, entry.fields)
    events.publish(
        name=EventName.MODEL_REGISTERED,
        subject=model.key,
        message=f"{model.key} was registered.",
        actor=actor,
        cause=_REQUESTED,
        after=dict(entry.fields),
        data={"path": entry.path} if entry.path else None,
    )


def _renew(model: RegisteredModel, entry: Entry, file: GgufMetadata | None, actor: str) -> None:
    if file is not None:
        _take_file(model, Path(entry.path or ""), file, actor)
    _change(model, entry.fields, actor=actor, cause="registered again")


def _take_file(model: RegisteredModel, path: Path, file: GgufMetadata, actor: str) -> None:
    before = model.version
    version = local_discovery.describe(model, path, file)
    if version != before:
        events.publish(
            name=EventName.MODEL_UPDATED,
            subject=model.key,
            message=f"{model.key} has the file {path.name} now.",
            actor=actor,
            cause="registered again",
            before={"sha256": before.sha256, "path": before.path} if before else None,
            after={"sha256": version.sha256, "path": version.path},
        )


def check_fits(entry: Entry, provider: Provider) -> None:
    """Raises InvalidRequest for fields of local models on a remote one."""
    if entry.path is not None and providers.is_remote(provider):
        raise InvalidRequest(f"'path' is for local models; '{entry.key}' is served by {provider}.", param="path")
    _check_options(entry.fields, provider, str(entry.key))


def _check_options(fields: Mapping[str, Any], provider: Provider, key: str) -> None:
    if fields.get("load_options") and providers.is_remote(provider):
        raise InvalidRequest(
            f"'load_options' is for local models; '{key}' is served by {provider}.",
            param="load_options",
        )


def update(*, key: str, fields: Mapping[str, Any], actor: str) -> None:
    """Change a model's entry; `fields` come from `models_app.domain.catalog.entries`. Raises ModelNotFound."""
    with transaction.atomic():
        events.take_lock()
        model = lookup.get(key=key)
        _check_options(fields, model.provider, model.key)
        _change(model, fields, actor=actor, cause=_REQUESTED)


def edit_tags(*, key: str, add: Sequence[str], remove: Sequence[str], actor: str) -> None:
    """Add and remove tags; safe with concurrent edits. Raises ModelNotFound or InvalidRequest."""
    with transaction.atomic():
        # Every change of a model holds this lock, so the model cannot change between the read and the write.
        events.take_lock()
        model = lookup.get(key=key)
        kept = [tag for tag in model.tags if tag not in remove]
        tags = entries.parse_tags([*kept, *add], "add")
        _change(model, {"tags": tags}, actor=actor, cause=_REQUESTED)


def _change(model: RegisteredModel, fields: Mapping[str, Any], *, actor: str, cause: str) -> None:
    """Store changed fields, with one event that holds the old and new values; no event without a change."""
    before = {name: getattr(model, name) for name in fields}
    after = {name: value for name, value in fields.items() if value != before[name]}
    if not after:
        return
    routing.bump()
    _store(model, after)
    deprecated = after.get("deprecated", False)
    events.publish(
        name=EventName.MODEL_DEPRECATED if deprecated else EventName.MODEL_UPDATED,
        subject=model.key,
        message=f"{model.key} was deprecated." if deprecated else f"{model.key} was changed: {', '.join(after)}.",
        actor=actor,
        cause=cause,
        before={name: before[name] for name in after},
        after=after,
    )


def _store(model: RegisteredModel, fields: Mapping[str, Any]) -> None:
    """Write only the columns of these fields: concurrent writes of a load must stay."""
    if not fields:
        return
    set_fields(model, fields)
    columns = {"tags": ("tags", "tag_index"), "capabilities": ("capability_index",)}
    names = [column for name in fields for column in columns.get(name, (name,))]
    RegisteredModel.objects.filter(pk=model.pk).update(
        **{name: getattr(model, name) for name in names}, updated_at=timezone.now()
    )
    if "capabilities" in fields:
        capabilities.record_declared(
            model=model,
            capabilities=fields["capabilities"],
            detail="Declared when the model was registered.",
        )


def set_fields(model: RegisteredModel, fields: Mapping[str, Any]) -> None:
    """Set the fields without saving the model."""
    for name, value in fields.items():
        if name == "tags":
            model.set_tags(value)
        else:
            setattr(model, name, value)


def deregister(*, key: str, actor: str, cause: str = _REQUESTED) -> None:
    """Delete a model from the registry with its versions, instances and profiles; logs and events keep its key.

    Raises ModelNotFound, or Conflict (`model_in_use`) while it is loaded, has an active job, or a route leads to it.
    """
    with transaction.atomic():
        routing.bump()
        model = lookup.get(key=key)
        canonical = model.key
        before = remove(model=model)
        events.publish(
            name=EventName.MODEL_DEREGISTERED,
            subject=canonical,
            message=f"{canonical} was deregistered.",
            actor=actor,
            cause=cause,
            before=before,
        )


def remove(*, model: RegisteredModel) -> dict[str, Any]:
    """Delete the row and its dependants, and return its former values. Call inside a transaction.

    Raises Conflict as `deregister` does.
    """
    # A load that begins now waits for this row, and then finds it deleted.
    RegisteredModel.objects.select_for_update().get(pk=model.pk)
    check_unused(model=model)
    before = {"name": model.name, "tags": model.tags, "capabilities": model.capabilities}
    # Instances protect versions, which are deleted with the model.
    Instance.objects.filter(model=model).delete()
    model.delete()
    return before


def check_unused(*, model: RegisteredModel) -> None:
    """Raises Conflict while the model is in use; the message has the remedy."""
    if Instance.objects.filter(model=model, state__in=LIVE_INSTANCE_STATES).exists():
        raise _in_use(model, "is loaded. Unload it first: POST /api/v1/models/unload.")
    routes = Route.objects.filter(Q(target=model) | ~Q(fallbacks=[]))
    for route in routes.only("name", "target_id", "fallbacks"):
        if route.target_id == model.pk or model.key in route.fallbacks:
            raise _in_use(
                model,
                f"is the target or a fallback of the route '{route.name}'. Point the route at another model first:"
                " POST /api/v1/models/switch.",
            )
    job = Job.objects.filter(subject=model.key, state__in=ACTIVE_JOB_STATES).first()
    if job is not None:
        raise _in_use(model, f"has the active job {job.pk} ({job.kind}). Wait for its end, or cancel it.")


def _in_use(model: RegisteredModel, why: str) -> Conflict:
    return Conflict(f"'{model.key}' {why}", code="model_in_use", param="key")

"""Chooses the node that loads a model, and the node that runs a job."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum

from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict, NoaError, NotFound, Unavailable
from models_app.domain.residency.placement import NoPlace, Place, PlacementRequest, Refusal, place
from models_app.domain.states import SERVING_INSTANCE_STATES, InstanceState, JobKind
from models_app.engines import llamacpp
from models_app.models import Instance, ModelFile, Node, RegisteredModel
from models_app.services.nodes import nodes
from models_app.services.providers import providers


def up() -> QuerySet[Node]:
    """The nodes with a current heartbeat."""
    return Node.objects.filter(pid__isnull=False).exclude(name__in=nodes.stale())


def has_others() -> bool:
    """Whether a node other than this process's own is up."""
    return up().exclude(name=settings.NOA_NODE).exists()


def node_for(*, kind: JobKind, key: str, options: LoadOptions, asked_node: str) -> str:
    """The node whose worker runs a new job. `key` counts for jobs about a model, `options` for loads.

    A job runs where its model is, or will be. Raises NotFound, Conflict or Unavailable where there is no such node.
    """
    if asked_node and kind != JobKind.LOAD:
        return asked_node
    model = _model(key) if kind in _OF_A_MODEL else None
    if model is None:
        return any_node()
    found = _serving_node(model)
    if kind == JobKind.LOAD or (kind == JobKind.SWITCH and not found):
        return node_for_load(model=model, options=options, asked_node=asked_node)
    return found or any_node()


_OF_A_MODEL = frozenset({JobKind.LOAD, JobKind.UNLOAD, JobKind.SWITCH, JobKind.PROBE, JobKind.PROFILE})


def node_for_load(
    *,
    model: RegisteredModel,
    options: LoadOptions,
    asked_node: str = "",
    avoid: Collection[str] = (),
) -> str:
    """The node on which to load this model, always the only node if there is one. Raises as `node_for` does."""
    rows = list(Node.objects.all())
    alive = set(up().values_list("name", flat=True))
    if not alive and not asked_node:
        # No worker is up: the job waits for the node that has the model, or for the only one.
        return _home(model, rows)
    need, wants_gpu = _need(model, options)
    request = PlacementRequest(
        need=need,
        node=asked_node,
        prefer=_last_node(model),
        avoid=frozenset(avoid),
        wants_gpu=wants_gpu,
    )
    found = place(request, _places(model, rows, alive))
    if isinstance(found, NoPlace):
        raise _refused(model, found)
    return found.name


def any_node() -> str:
    """A node for work that every node can do: this one if it is up, or else the least busy."""
    alive = set(up().filter(draining_at=None).values_list("name", flat=True))
    if settings.NOA_NODE in alive or not alive:
        return str(settings.NOA_NODE)
    loaded = _loaded()
    return min(alive, key=lambda name: (loaded.get(name, {}).get("count", 0), name))


def _model(key: str) -> RegisteredModel | None:
    return RegisteredModel.objects.filter(key=key).select_related("provider", "version").first()


def _serving_node(model: RegisteredModel) -> str:
    """The node of an instance that serves the model, a ready one first; empty when there is none."""
    rows = Instance.objects.filter(model=model, state__in=SERVING_INSTANCE_STATES)
    found = dict(rows.order_by("-created_at").values_list("node", "state"))
    ready = [name for name, state in found.items() if state == InstanceState.READY]
    if settings.NOA_NODE in ready:
        return str(settings.NOA_NODE)
    return next(iter(ready or found), "")


def _home(model: RegisteredModel, rows: list[Node]) -> str:
    """The node to wait for when none is up: the model's last one, or this one, or any."""
    names = [row.name for row in rows]
    for name in (_last_node(model), str(settings.NOA_NODE)):
        if name in names or not names:
            return name or str(settings.NOA_NODE)
    return names[0]


def _last_node(model: RegisteredModel) -> str:
    """The node of the last load: the file can still be in its page cache. Empty when there was no load."""
    rows = Instance.objects.filter(model=model).order_by("-created_at")
    return rows.values_list("node", flat=True).first() or ""


def _need(model: RegisteredModel, options: LoadOptions) -> tuple[int | None, bool]:
    """The bytes that a load needs, None if unknown, and whether GPU layers were requested."""
    chosen = LoadOptions.parse(model.load_options) if options.is_empty else options
    version = model.version
    if version is None or not version.header or providers.is_remote(model.provider):
        return None, False
    metadata = GgufMetadata.from_dict(version.header)
    spec = llamacpp.plan(metadata, chosen, instance_id="", model="", fingerprint="", path=Path(), socket=Path())
    return llamacpp.memory_need(metadata, spec).total, bool(chosen.n_gpu_layers)


def _places(model: RegisteredModel, rows: list[Node], alive: Collection[str]) -> list[Place]:
    with_file = nodes_with_file(model)
    serving = set(
        Instance.objects.filter(model=model, state__in=SERVING_INSTANCE_STATES).values_list("node", flat=True)
    )
    loaded = _loaded()
    return [
        Place(
            name=row.name,
            is_up=row.name in alive,
            is_draining=row.draining_at is not None,
            has_file=with_file is None or row.name in with_file,
            has_model=row.name in serving,
            has_gpu=bool(row.gpus),
            free=_free(row, loaded.get(row.name, {})),
            evictable=loaded.get(row.name, {}).get("evictable") or 0,
            models=loaded.get(row.name, {}).get("count", 0),
        )
        for row in rows
    ]


def nodes_with_file(model: RegisteredModel) -> set[str] | None:
    """None when every node qualifies: a remote model, or one whose file no node has reported yet."""
    if model.version is None or providers.is_remote(model.provider):
        return None
    # Files that a web process registered on a machine without a worker are on no node.
    known = ModelFile.objects.filter(model=model, node__in=Node.objects.values("name"))
    files = list(known.values_list("node", "sha256"))
    return {name for name, sha256 in files if sha256 == model.version.sha256} if files else None


def _loaded() -> dict[str, dict[str, Any]]:
    """By node: the count of local models, the bytes they hold, evictable bytes, and bytes promised to starting ones."""
    starting = Q(state__in=(InstanceState.QUEUED, InstanceState.STARTING))
    rows = (
        Instance.objects.filter(state__in=SERVING_INSTANCE_STATES, version__isnull=False)
        .order_by()
        .values("node")
        .annotate(
            count=Count("pk"),
            held=Sum("memory_bytes"),
            evictable=Sum("memory_bytes", filter=Q(model__pinned=False)),
            promised=Sum("memory_estimate_bytes", filter=starting),
        )
    )
    return {row["node"]: dict(row) for row in rows}


def _free(row: Node, loaded: dict[str, Any]) -> int | None:
    """Free bytes of the machine or of its budget, less those promised to starting instances."""
    promised = loaded.get("promised") or 0
    free = [row.memory_free_bytes - promised] if row.memory_free_bytes is not None else []
    if row.memory_budget_bytes is not None:
        free.append(row.memory_budget_bytes - (loaded.get("held") or 0) - promised)
    return min(free) if free else None


def _refused(model: RegisteredModel, why: NoPlace) -> NoaError:
    names = ", ".join(f"'{name}'" for name in why.nodes)
    if why.reason == Refusal.UNKNOWN_NODE:
        return NotFound(
            f"There is no node {names}. GET /api/v1/nodes lists them.",
            code="node_not_found",
            param="node",
        )
    if why.reason == Refusal.NODE_DOWN:
        return Unavailable(
            f"The node {names} has no running worker. Start it, or name no node.",
            code="node_down",
        )
    if why.reason == Refusal.NODE_DRAINING:
        return Conflict(
            f"Nothing can be loaded on the node {names}, which is being drained. Name another one.",
            code="node_draining",
        )
    if why.reason == Refusal.FILE_NOT_THERE:
        return Conflict(
            f"The node {names} does not have the present file of '{model.key}'. Copy it there, and discover again.",
            code="file_not_on_node",
        )
    there = f" It is on {names}, where nothing can be loaded now." if names else ""
    return Unavailable(f"No running node has the present file of '{model.key}'.{there}", code="no_node_has_file")

"""The nodes in the form that the API and the console show."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from models_app.domain.errors import Conflict, NotFound
from models_app.domain.states import LIVE_INSTANCE_STATES
from models_app.models import Instance, ModelFile, Node
from models_app.services.nodes import nodes, placement


def get(*, name: str) -> Node:
    row = Node.objects.filter(name=name).first()
    if row is None:
        raise NotFound(
            f"There is no node '{name[:80]}'. GET /api/v1/nodes lists them.",
            code="node_not_found",
            param="name",
        )
    return row


def represent(rows: list[Node]) -> list[dict[str, Any]]:
    """Each node with its resources, its instances and its state; a fixed number of queries."""
    silent = nodes.stale()
    names = [row.name for row in rows]
    loaded: dict[str, list[Instance]] = defaultdict(list)
    live = Instance.objects.filter(node__in=names, state__in=LIVE_INSTANCE_STATES)
    for instance in live.select_related("model").order_by("created_at"):
        loaded[instance.node].append(instance)
    files: dict[str, list[str]] = defaultdict(list)
    seen = ModelFile.objects.filter(node__in=names).order_by("model__key")
    for name, key in seen.values_list("node", "model__key"):
        files[name].append(key)
    alive = {row.name for row in rows if row.pid is not None and row.name not in silent}
    return [_represent(row, row.name in alive, loaded[row.name], files[row.name]) for row in rows]


def _represent(row: Node, is_up: bool, loaded: list[Instance], files: list[str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": _state(row, is_up),
        "draining": row.draining_at is not None,
        "hostname": row.hostname,
        "address": row.address or None,
        "version": row.version,
        "started_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "lost_at": row.lost_at,
        "memory_total_bytes": row.memory_total_bytes,
        "memory_free_bytes": row.memory_free_bytes,
        "memory_budget_bytes": row.memory_budget_bytes,
        "gpus": row.gpus,
        "models": files or row.models,
        "instances": [
            {
                "id": str(instance.pk),
                "key": instance.model.key,
                "state": instance.state,
                "memory_bytes": instance.memory_bytes,
            }
            for instance in loaded
        ],
    }


def _state(row: Node, is_up: bool) -> str:
    if is_up:
        return "up"
    return "stopped" if row.pid is None else "lost"


def forget(*, name: str) -> None:
    """Delete a node that will not return, and the record of its files. Raises Conflict while its worker runs."""
    row = get(name=name)
    if placement.up().filter(pk=row.pk).exists():
        raise Conflict(
            f"The worker of node '{name}' is running. Drain it, stop it, then delete the node.",
            code="node_in_use",
        )
    ModelFile.objects.filter(node=row.name).delete()
    row.delete()

"""`GET /v1/models`, built once per snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, KeyEntry, ModelEntry, Snapshot
from models_app.gateway.routing.resolving import may_use


class ModelList:
    """The list of routes and models in OpenAI's shape. `noa` adds the kind of each name and whether it is loaded."""

    def __init__(self) -> None:
        self._snapshot = EMPTY_SNAPSHOT
        self._listing = b""
        self._entries: dict[str, bytes] = {}

    def listing(self, snapshot: Snapshot, key: KeyEntry) -> bytes:
        """The list of the routes and models that the key allows."""
        self._build(snapshot)
        if not key.allowed_models:
            return self._listing
        return _list(entry for name, entry in self._entries.items() if _may_see(snapshot, name, key))

    def entry(self, snapshot: Snapshot, name: str, key: KeyEntry) -> bytes | None:
        """The entry of one name; None for a name that is unknown or that `key` does not allow."""
        self._build(snapshot)
        if not _may_see(snapshot, name, key):
            return None
        return self._entries.get(name) or self._entries.get(snapshot.unique_ids.get(name, ""))

    def _build(self, snapshot: Snapshot) -> None:
        if self._snapshot is snapshot and self._listing:
            return
        values = [_route(name, snapshot) for name in sorted(snapshot.routes)]
        values += [_model(snapshot.models[key]) for key in sorted(snapshot.models) if key not in snapshot.routes]
        self._entries = {value["id"]: orjson.dumps(value) for value in values}
        self._listing = _list(self._entries.values())
        self._snapshot = snapshot


def _list(entries: Iterable[bytes]) -> bytes:
    return b'{"object":"list","data":[' + b",".join(entries) + b"]}"


def _may_see(snapshot: Snapshot, name: str, key: KeyEntry) -> bool:
    found = snapshot.resolve(name)
    return found is not None and may_use(key, found.route, found.model)


def _route(name: str, snapshot: Snapshot) -> dict[str, Any]:
    key = snapshot.routes[name]
    model = snapshot.models.get(key) if key else None
    return {
        "id": name,
        "object": "model",
        "created": model.created if model else 0,
        "owned_by": "noa",
        "noa": {"kind": "route", "target": key, "loaded": bool(model and model.target)},
    }


def _model(model: ModelEntry) -> dict[str, Any]:
    return {
        "id": model.key,
        "object": "model",
        "created": model.created,
        "owned_by": model.provider,
        "noa": {"kind": "model", "model_id": model.model_id, "loaded": model.target is not None},
    }

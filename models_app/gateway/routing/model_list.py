"""`GET /v1/models`, built once per snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, KeyEntry, ModelEntry, Snapshot
from models_app.gateway.routing.resolving import may_use

Entry = Mapping[str, Any]


class ModelList:
    """The list of routes and models in one dialect. `noa` adds the kind of each name, and whether it is loaded."""

    def __init__(self, shape: Callable[[Entry], Entry], listed: Callable[[list[str], bytes], bytes]) -> None:
        """`shape` makes an entry of OpenAI's one of the dialect; `listed` the list, from names and joined entries."""
        self._shape, self._listed = shape, listed
        self._snapshot = EMPTY_SNAPSHOT
        self._listing = b""
        self._entries: dict[str, bytes] = {}

    def listing(self, snapshot: Snapshot, key: KeyEntry) -> bytes:
        """The list of the routes and models that the key allows."""
        self._build(snapshot)
        if not key.allowed_models:
            return self._listing
        return self._list(name for name in self._entries if _may_see(snapshot, name, key))

    def entry(self, snapshot: Snapshot, name: str, key: KeyEntry) -> bytes | None:
        """The entry of one name; None for a name that is unknown or that `key` does not allow."""
        self._build(snapshot)
        if not _may_see(snapshot, name, key):
            return None
        return self._entries.get(name) or self._entries.get(snapshot.short_names.get(name, ""))

    def _build(self, snapshot: Snapshot) -> None:
        if self._snapshot is snapshot and self._listing:
            return
        values = [_route(name, snapshot) for name in sorted(snapshot.routes)]
        values += [
            _model(snapshot.models[key], snapshot) for key in sorted(snapshot.models) if key not in snapshot.routes
        ]
        self._entries = {value["id"]: orjson.dumps(self._shape(value)) for value in values}
        self._listing = self._list(self._entries)
        self._snapshot = snapshot

    def _list(self, names: Iterable[str]) -> bytes:
        shown = list(names)
        return self._listed(shown, b",".join(self._entries[name] for name in shown))


def openai_list() -> ModelList:
    return ModelList(lambda entry: entry, lambda _, entries: b'{"object":"list","data":[' + entries + b"]}")


def anthropic_list() -> ModelList:
    """In one page, whatever its length."""

    def listed(names: list[str], entries: bytes) -> bytes:
        page = {"has_more": False, "first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return b'{"data":[' + entries + b"]," + orjson.dumps(page)[1:]

    return ModelList(_as_anthropic, listed)


def _as_anthropic(entry: Entry) -> Entry:
    created = datetime.fromtimestamp(entry["created"], UTC).isoformat().replace("+00:00", "Z")
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": created,
        "lifecycle": "active",
        "noa": entry["noa"],
    }


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


def _model(model: ModelEntry, snapshot: Snapshot) -> dict[str, Any]:
    is_named_so = model.model_id not in snapshot.routes and snapshot.short_names.get(model.model_id) == model.key
    return {
        "id": model.key,
        "object": "model",
        "created": model.created,
        "owned_by": model.provider,
        "noa": {
            "kind": "model",
            "model_id": model.model_id,
            # The other name that a request can use; null if it leads to another model or to a route.
            "short_name": model.model_id if is_named_so else None,
            "loaded": model.target is not None,
        },
    }

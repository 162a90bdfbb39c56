"""`GET /v1/models`, built once per snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson

from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, KeyEntry, ModelEntry, Snapshot
from models_app.gateway.routing.model_entries import Entry, as_anthropic, model_entry, route_entry
from models_app.gateway.routing.resolving import may_use


class ModelList:
    """The list of routes and models in one dialect. `noa` adds the kind of each name, and whether it is loaded."""

    def __init__(
        self,
        shape: Callable[[Entry, ModelEntry | None], Entry],
        listed: Callable[[list[str], bytes], bytes],
    ) -> None:
        """`shape` makes an entry of OpenAI's, and the model that it leads to, one of the dialect; `listed` the list,
        from names and joined entries.
        """
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
        entries: dict[str, bytes] = {}
        for name in sorted(snapshot.routes):
            target = snapshot.models.get(snapshot.routes[name] or "")
            entries[name] = orjson.dumps(self._shape(route_entry(name, snapshot), target))
        for key in sorted(snapshot.models.keys() - snapshot.routes.keys()):
            model = snapshot.models[key]
            entries[key] = orjson.dumps(self._shape(model_entry(model, snapshot), model))
        self._entries = entries
        self._listing = self._list(entries)
        self._snapshot = snapshot

    def _list(self, names: Iterable[str]) -> bytes:
        shown = list(names)
        return self._listed(shown, b",".join(self._entries[name] for name in shown))


def openai_list() -> ModelList:
    return ModelList(lambda entry, _: entry, lambda _, entries: b'{"object":"list","data":[' + entries + b"]}")


def anthropic_list() -> ModelList:
    """In one page, whatever its length."""

    def listed(names: list[str], entries: bytes) -> bytes:
        page = {"has_more": False, "first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return b'{"data":[' + entries + b"]," + orjson.dumps(page)[1:]

    return ModelList(as_anthropic, listed)


def _may_see(snapshot: Snapshot, name: str, key: KeyEntry) -> bool:
    found = snapshot.resolve(name)
    return found is not None and may_use(key, found.route, found.model)

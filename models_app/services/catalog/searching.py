"""Searches of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, Value
from django.db.models.functions import Lower

from models_app.models import RegisteredModel
from models_app.models.registry import RegisteredModelQuerySet

# Names that lists can be ordered by, and their columns.
ORDERINGS: Mapping[str, str] = {
    name: name
    for name in (
        "key",
        "name",
        "created_at",
        "updated_at",
        "access_count",
        "last_accessed_at",
        "context_window",
    )
} | {"size_bytes": "version__size_bytes"}


@dataclass(frozen=True, slots=True)
class Search:
    """All conditions must hold; an empty one or None does not filter.

    capabilities  all of them; with `proven`, as a probe has shown it
    statuses, tags  any of them
    name          part of the key or the name, `text` of key, name or description, whatever the case
    ordering      a name of `ORDERINGS`, with '-' for the largest first; unknown values come last either way
    """

    provider: str | None = None
    capabilities: tuple[str, ...] = ()
    proven: bool = False
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    deprecated: bool | None = None
    gone: bool | None = None
    min_context_window: int | None = None
    max_context_window: int | None = None
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    quantization: str | None = None
    architecture: str | None = None
    name: str | None = None
    text: str | None = None
    ordering: str = "key"

    @property
    def is_all(self) -> bool:
        return self == Search(ordering=self.ordering)

    def rows(self) -> RegisteredModelQuerySet:
        """The models, in their order."""
        found = RegisteredModel.objects.filter(self._plain(), self._texts())
        for capability in self.capabilities:
            found = found.with_proven(capability) if self.proven else found.with_capability(capability)
        if self.proven and not self.capabilities:
            found = found.exclude(proven_index="")
        if self.tags:
            found = found.filter(_any("tag_index__contains", [f",{tag}," for tag in self.tags]))
        return found.order_by(*self._order())

    def _plain(self) -> Q:
        conditions: dict[str, Any] = {
            "provider__slug": self.provider,
            "status__in": self.statuses or None,
            "deprecated": self.deprecated,
            "gone_at__isnull": None if self.gone is None else not self.gone,
            "context_window__gte": self.min_context_window,
            "context_window__lte": self.max_context_window,
            "version__size_bytes__gte": self.min_size_bytes,
            "version__size_bytes__lte": self.max_size_bytes,
            "version__quantization__iexact": self.quantization,
            "version__architecture__iexact": self.architecture,
        }
        return Q(**{name: value for name, value in conditions.items() if value is not None})

    def _texts(self) -> Q:
        found = Q()
        if self.text:
            # The database's own lower case on both sides: SQLite's covers ASCII only.
            found &= Q(search_text__contains=Lower(Value(self.text)))
        if self.name:
            found &= Q(key__icontains=self.name) | Q(name__icontains=self.name)
        return found

    def _order(self) -> list[Any]:
        name = self.ordering.removeprefix("-")
        column = F(ORDERINGS[name])
        # Databases differ in where they sort null.
        chosen = column.desc(nulls_last=True) if name != self.ordering else column.asc(nulls_last=True)
        # A nulls-last order of a column that is never null would keep the database from using its index.
        return ["-key" if name != self.ordering else "key"] if name == "key" else [chosen, "key"]


def _any(lookup: str, values: list[str]) -> Q:
    found = Q()
    for value in values:
        found |= Q(**{lookup: value})
    return found

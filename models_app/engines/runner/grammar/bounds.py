"""Bounds of what a JSON schema can stand for: counts inside each other multiply. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Items and characters of one value, with every count at its highest: a list of 1,000 texts of 1,000 characters, ten
# times. More is no answer that a model would write.
MAX_PRODUCT = 10_000_000
# A schema of 64 KiB has some thousand places, unless its references lead to the same ones again and again.
_MAX_VISITS = 20_000
# Keywords that hold one schema, and a list of schemas.
_ONE = ("items", "additionalProperties", "additionalItems")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems", "items")

Resolve = Callable[[str], Any]
Refuse = Callable[[str, str], Exception]


@dataclass(frozen=True, slots=True)
class _Place:
    """A schema at a location, the product of the counts around it, and the references that lead to it."""

    schema: Any
    at: str
    product: int
    inside: frozenset[str]


class Bounds:
    """`check` walks a schema. `resolve` follows a reference, and raises for a bad one; `refuse` makes the error of a
    location and a problem."""

    def __init__(self, resolve: Resolve, refuse: Refuse) -> None:
        self._resolve, self._refuse = resolve, refuse
        self._visits = 0
        # The highest product with which each reference was followed.
        self._followed: dict[str, int] = {}

    def check(self, schema: Any) -> None:
        """Raises the error of `refuse` for a schema whose counts multiply beyond the bound."""
        places = [_Place(schema, "#", 1, frozenset({"#"}))]
        while places:
            place = places.pop()
            if not isinstance(place.schema, Mapping):
                continue
            self._visits += 1
            if self._visits > _MAX_VISITS:
                raise self._refuse(place.at, "is reached too often by references; write the schema with fewer of them")
            places += self._inner(place)

    def _inner(self, place: _Place) -> Iterator[_Place]:
        schema, at = place.schema, place.at
        for keyword in ("maxLength", "minLength"):
            self._multiplied(place, keyword)
        product = max(self._multiplied(place, keyword) for keyword in ("maxItems", "minItems"))
        reference = schema.get("$ref")
        # A schema inside itself is no product: llama.cpp follows the reference only where the answer does.
        if isinstance(reference, str) and reference not in place.inside and self._is_larger(reference, place.product):
            yield _Place(self._resolve(reference), reference, place.product, place.inside | {reference})
        for keyword in _ONE:
            yield _Place(schema.get(keyword), f"{at}/{keyword}", product, place.inside)
        for keyword in _SEVERAL:
            if isinstance(listed := schema.get(keyword), list):
                yield from (_Place(item, f"{at}/{keyword}/{n}", product, place.inside) for n, item in enumerate(listed))
        if isinstance(named := schema.get("properties"), Mapping):
            for name, item in named.items():
                yield _Place(item, f"{at}/properties/{name}", place.product, place.inside)

    def _is_larger(self, reference: str, product: int) -> bool:
        """Whether a reference was followed with smaller products only."""
        if self._followed.get(reference, 0) >= product:
            return False
        self._followed[reference] = product
        return True

    def _multiplied(self, place: _Place, keyword: str) -> int:
        count, product = place.schema.get(keyword), place.product
        if type(count) is not int or count < 1:
            return product
        if product * count > MAX_PRODUCT:
            raise self._refuse(
                f"{place.at}/{keyword}",
                f"is {count:,} inside counts that multiply to {product:,}: one value could have {product * count:,} "
                f"parts, and at most {MAX_PRODUCT:,} are allowed. Lower this count or one around it",
            )
        return product * count

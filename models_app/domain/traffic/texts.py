"""Rules for storing the texts of requests: none is stored without a rule of the API key or the route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TextRule:
    """share      of the requests whose texts are stored, 0 to 1
    max_bytes  of each of the two texts; longer ones are cut off
    days       until they are deleted
    """

    share: float
    max_bytes: int
    days: int


@dataclass(frozen=True, slots=True)
class CapturedText:
    """The prompt and the answer of a request, cut to the rule's size."""

    request_id: str
    started_at: float  # Unix seconds
    key_id: str
    route: str
    model_key: str
    days: int
    # Not in the representation, which could end up in a log.
    prompt: bytes = field(repr=False)
    answer: bytes = field(repr=False)
    is_cut: bool


def of_key(key_id: str) -> str:
    return f"key:{key_id}"


def of_route(name: str) -> str:
    return f"route:{name}"


def chosen(rules: Mapping[str, TextRule], *, key_id: str, route: str, chance: float) -> TextRule | None:
    """The rule by which these texts are stored, the key's before the route's. `chance` is from 0 to below 1."""
    for name in (of_key(key_id), of_route(route)):
        rule = rules.get(name)
        if rule is not None and chance < rule.share:
            return rule
    return None

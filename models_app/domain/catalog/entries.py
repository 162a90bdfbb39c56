"""Validates the entries of models, for registration, changes and imported registries alike.

Every error names the field by its place in the body, for example `models[3].price.input`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.catalog.pricing import Price, Tier
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import depth_exceeds, shown
from models_app.domain.keys import ModelKey

MAX_NAME = 190
MAX_DESCRIPTION = 10_000
MAX_NOTE = 1_000
MAX_PATH = 4_096
MAX_TAGS = 64
MAX_TAG = 64
# Far longer than the context of any model.
MAX_TOKENS = 1_000_000_000
MAX_PRIORITY = 100
# A year; the limit of the times of residency.
MAX_SECONDS = 31_536_000
# Metadata is part of every list: a page of 500 models must stay a reasonable answer.
MAX_METADATA_BYTES = 64 * 1024
# An exported registry holds metadata a few levels down, and bodies can be nested 64 levels deep.
MAX_METADATA_DEPTH = 32
# PostgreSQL returns larger numbers as integers that do not fit into a JSON answer.
_MAX_NUMBER = 2**63 - 1
# US dollars per million tokens. Costs are stored with ten places.
MAX_PRICE = 1_000_000
_PRICE_PLACES = 10
MAX_TIERS = 10
_PRICES = ("input", "output", "cached_input", "cache_write")

_NAMES = ("key", "provider", "model")


@dataclass(frozen=True, slots=True)
class Entry:
    """A model to register: its `fields` in stored form, and the `path` of a local model's file."""

    key: ModelKey
    fields: Mapping[str, Any]
    path: str | None = None


def parse_entry(data: Any, place: str = "") -> Entry:
    """Parse an entry; raises InvalidRequest that names the field. `place` is its path with a trailing dot."""
    if not isinstance(data, dict):
        raise _refusal(place.rstrip("."), "an object")
    refuse_unknown(data, (*_NAMES, "path", *_CHECKS), place)
    path = data.get("path")
    if path is not None:
        path = line(path, f"{place}path", limit=MAX_PATH)
    return Entry(_key(data, place), parse_fields(data, place), path)


def parse_fields(data: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The descriptive fields in `data`, in stored form. null clears a field."""
    return {name: check(data[name], f"{place}{name}") for name, check in _CHECKS.items() if name in data}


def parse_changes(data: Mapping[str, Any]) -> dict[str, Any]:
    refuse_unknown(data, _CHECKS, "")
    return parse_fields(data)


def parse_tags(value: Any, place: str) -> list[str]:
    """Tags in lower case and Unicode NFC, each once, in their order."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise _refusal(place, f"a list of at most {MAX_TAGS} tags")
    tags = [checked_tag(tag, f"{place}[{index}]") for index, tag in enumerate(value)]
    return list(dict.fromkeys(tags))


def checked_tag(value: Any, place: str) -> str:
    """A tag in the form for storage and searches; raises InvalidRequest."""
    tag = value if isinstance(value, str) else ""
    tag = unicodedata.normalize("NFC", tag.strip().casefold())
    if not tag or len(tag) > MAX_TAG or not tag.isprintable() or "," in tag:
        raise _refusal(place, f"a tag: 1 to {MAX_TAG} printable characters without a comma", value=value)
    return tag


def refuse_unknown(data: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    for name in data:
        if name not in known:
            raise InvalidRequest(
                f"Unknown field '{place}{shown(name)}'. Known fields: {', '.join(known)}.",
                code="unknown_field",
                param=f"{place}{shown(name)}",
            )


def _refusal(place: str, expected: str, value: Any = None, *, code: str | None = None) -> InvalidRequest:
    what = "" if value is None else f", not '{shown(value)}'"
    return InvalidRequest(f"'{place}' must be {expected}{what}.", code=code, param=place)


def _key(data: Mapping[str, Any], place: str) -> ModelKey:
    named, paired = "key" in data, "provider" in data and "model" in data
    if named == paired or (named and ("provider" in data or "model" in data)):
        raise InvalidRequest("Name the model by 'key', or by 'provider' and 'model'.", param=f"{place}key")
    for name in _NAMES:
        if name in data and not isinstance(data[name], str):
            raise _refusal(f"{place}{name}", "a string")
    text = data["key"] if named else f"{data['provider']}:{data['model']}"
    try:
        return ModelKey.parse(text)
    except InvalidRequest as error:
        error.param = f"{place}{error.param if paired else 'key'}"
        raise


Check = Callable[[Any, str], Any]


def line(value: Any, place: str, *, limit: int) -> str:
    """One line of text; null is empty."""
    text = _text(value, place, limit)
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise _refusal(place, "one line without control characters")
    return text.strip()


def _lines(value: Any, place: str, *, limit: int) -> str:
    text = _text(value, place, limit)
    if any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text):
        raise _refusal(place, "text without control characters")
    return text.strip()


def _text(value: Any, place: str, limit: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit:
        raise _refusal(place, f"a string of at most {limit:,} characters")
    return value


def _tokens(value: Any, place: str) -> int | None:
    if value is not None and (type(value) is not int or not 1 <= value <= MAX_TOKENS):
        raise _refusal(place, f"a whole number from 1 to {MAX_TOKENS:,}, or null")
    return value


def _whole(value: Any, place: str, *, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise _refusal(place, f"a whole number from 0 to {limit:,}")
    return value


def _seconds(value: Any, place: str) -> int | None:
    """Seconds up to a year; null stands for the server's setting."""
    return None if value is None else _whole(value, place, limit=MAX_SECONDS)


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise _refusal(place, "true or false")
    return value


def _capabilities(value: Any, place: str) -> list[str]:
    if value is None:
        return []
    known = [capability.value for capability in Capability]
    if not isinstance(value, list) or any(word not in known for word in value):
        raise _refusal(place, f"a list of some of {', '.join(known)}")
    return [word for word in known if word in value]


def _metadata(value: Any, place: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refusal(place, "an object")
    if depth_exceeds(value, MAX_METADATA_DEPTH):
        raise _refusal(place, f"nested at most {MAX_METADATA_DEPTH} levels")
    if len(orjson.dumps(value)) > MAX_METADATA_BYTES:
        raise _refusal(place, f"at most {MAX_METADATA_BYTES // 1024} KiB of JSON")
    _check_storable(value, place)
    return value


def _check_storable(value: Any, place: str) -> None:
    """Raises InvalidRequest for values that not every database returns unchanged."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_storable(name, place)
            _check_storable(item, place)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item, place)
    elif isinstance(value, str) and "\0" in value:
        raise _refusal(place, "free of NUL characters")
    elif isinstance(value, int | float) and abs(value) > _MAX_NUMBER:
        expected = "free of numbers beyond 2^63; write them as strings"
        raise _refusal(place, expected, code="number_too_large")


def _price(value: Any, place: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _refusal(place, "an object, or null where the price is not known")
    refuse_unknown(value, (*_PRICES, "source", "tiers"), f"{place}.")
    source = line(value.get("source"), f"{place}.source", limit=32) or "operator"
    tiers = _tiers(value.get("tiers"), f"{place}.tiers")
    return Price(**_amounts(value, place), source=source, tiers=tiers).as_dict()


def _amounts(value: Mapping[str, Any], place: str) -> dict[str, Any]:
    amounts = {name: _amount(value.get(name), f"{place}.{name}") for name in _PRICES}
    if amounts["input"] is None or amounts["output"] is None:
        raise InvalidRequest(f"'{place}' needs both 'input' and 'output'.", param=place)
    return amounts


def _tiers(value: Any, place: str) -> tuple[Tier, ...]:
    """The prices of longer prompts, by ascending length."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_TIERS:
        raise _refusal(place, f"a list of at most {MAX_TIERS} prices")
    found = [_tier(item, f"{place}[{index}]") for index, item in enumerate(value)]
    return tuple(sorted(found, key=lambda tier: tier.above))


def _tier(value: Any, place: str) -> Tier:
    if not isinstance(value, dict):
        raise _refusal(place, "an object")
    refuse_unknown(value, (*_PRICES, "above"), f"{place}.")
    above = _tokens(value.get("above"), f"{place}.above")
    if above is None:
        raise _refusal(f"{place}.above", "a number of tokens")
    return Tier(**_amounts(value, place), above=above)


_DECIMAL = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,10})?", re.ASCII)


def _amount(value: Any, place: str) -> Decimal | None:
    if value is None:
        return None
    is_number = type(value) in (int, float) and 0 <= value <= MAX_PRICE
    if not is_number and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        raise _price_refusal(place)
    amount = round(Decimal(str(value)), _PRICE_PLACES)
    if amount > MAX_PRICE:
        raise _price_refusal(place)
    # 1, 1.0 and '1.00' are the same price and are stored alike.
    return amount.normalize()


def _price_refusal(place: str) -> InvalidRequest:
    return _refusal(
        place,
        f"US dollars per million tokens, from 0 to {MAX_PRICE:,}: a number, or a decimal string with at most"
        f" {_PRICE_PLACES} places",
    )


def _load_options(value: Any, place: str) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refusal(place, "an object")
    try:
        return LoadOptions.parse(value).as_dict()
    except InvalidRequest as error:
        error.param = place + str(error.param).removeprefix("options")
        raise


_CHECKS: Mapping[str, Check] = {
    "name": partial(line, limit=MAX_NAME),
    "description": partial(_lines, limit=MAX_DESCRIPTION),
    "capabilities": _capabilities,
    "context_window": _tokens,
    "max_output_tokens": _tokens,
    "tags": parse_tags,
    "metadata": _metadata,
    "price": _price,
    "load_options": _load_options,
    "pinned": _flag,
    "priority": partial(_whole, limit=MAX_PRIORITY),
    "idle_ttl_seconds": _seconds,
    "min_residency_seconds": _seconds,
    "on_demand": _flag,
    "deprecated": _flag,
    "deprecation_note": partial(_lines, limit=MAX_NOTE),
}

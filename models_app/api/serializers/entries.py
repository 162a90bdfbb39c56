"""JSON schemas of the bodies that describe models. `models_app.domain.catalog.entries` checks them."""

from __future__ import annotations

from typing import Any

from models_app.domain import keys
from models_app.domain.catalog import entries
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.options import BOUNDS

# For more models there is the import of a registry.
MAX_MODELS = 1_000

LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
SLUG_PATTERN = f"^{keys.SLUG_PATTERN}$"
ROUTE_PATTERN = SLUG_PATTERN
_ID = r"[A-Za-z0-9](?:[A-Za-z0-9_@+ -]|[.:/](?![./])){0,188}"

_AMOUNT: dict[str, Any] = {
    "oneOf": [
        {"type": "number", "minimum": 0, "maximum": entries.MAX_PRICE},
        {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,10})?$"},
    ]
}


def _string(limit: int, pattern: str, description: str) -> dict[str, Any]:
    return {
        "type": "string",
        "maxLength": limit,
        "pattern": pattern,
        "nullable": True,
        "description": description,
    }


def _tokens(description: str) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": entries.MAX_TOKENS,
        "nullable": True,
        "description": description,
    }


def _seconds(description: str) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 0,
        "maximum": entries.MAX_SECONDS,
        "nullable": True,
        "description": f"{description} null: the server's setting.",
    }


def tags(description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "maxItems": entries.MAX_TAGS,
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": entries.MAX_TAG,
            "pattern": r"^[a-z0-9][a-z0-9._:/@+-]*$",
        },
        "description": description,
    }


_AMOUNTS: dict[str, Any] = {
    "input": _AMOUNT,
    "output": _AMOUNT,
    "cached_input": {**_AMOUNT, "nullable": True},
    "cache_write": {**_AMOUNT, "nullable": True},
}
_TIER: dict[str, Any] = {
    "type": "object",
    "required": ["input", "output", "above"],
    "additionalProperties": False,
    "properties": {
        **_AMOUNTS,
        "above": {"type": "integer", "minimum": 1, "maximum": entries.MAX_TOKENS},
    },
}
PRICE: dict[str, Any] = {
    "type": "object",
    "nullable": True,
    "required": ["input", "output"],
    "additionalProperties": False,
    "properties": {
        **_AMOUNTS,
        "tiers": {
            "type": "array",
            "maxItems": entries.MAX_TIERS,
            "items": _TIER,
            "description": "Prices of all tokens of requests with more than `above` prompt tokens.",
        },
        "source": _string(32, LINE, "Where the price comes from; by default `operator`."),
    },
    "description": "US dollars per million tokens, as numbers or decimal strings; null is unknown.",
}

LOAD_OPTIONS: dict[str, Any] = {
    "type": "object",
    "nullable": True,
    "additionalProperties": False,
    "properties": {
        name: {"type": "integer", "minimum": low, "maximum": high, "nullable": True}
        for name, (low, high) in BOUNDS.items()
    },
    "description": "For local models: the options of the next load.",
}

FIELDS: dict[str, Any] = {
    "name": _string(entries.MAX_NAME, LINE, "The display name."),
    "description": _string(entries.MAX_DESCRIPTION, _LINES, "Can have several lines."),
    "capabilities": {
        "type": "array",
        "nullable": True,
        "items": {"type": "string", "enum": [capability.value for capability in Capability]},
        "description": "Its capabilities. For local models they are read from the file.",
    },
    "context_window": _tokens("Tokens. For local models it is read from the file."),
    "max_output_tokens": _tokens("Tokens of the longest answer."),
    "tags": {**tags("Words to search by, stored in lower case."), "nullable": True},
    "metadata": {
        "type": "object",
        "nullable": True,
        "additionalProperties": True,
        "description": f"Your own data about the model, at most {entries.MAX_METADATA_BYTES // 1024} KiB.",
    },
    "price": PRICE,
    "load_options": LOAD_OPTIONS,
    "pinned": {
        "type": "boolean",
        "description": "Whether it is never evicted, nor unloaded when idle.",
    },
    "priority": {
        "type": "integer",
        "minimum": 0,
        "maximum": entries.MAX_PRIORITY,
        "description": "Only models of lower or equal priority are evicted for it.",
    },
    "idle_ttl_seconds": _seconds("Unloaded after this time without a request; 0 is never."),
    "min_residency_seconds": _seconds("Stays loaded at least this long before it can be evicted."),
    "on_demand": {"type": "boolean", "description": "Whether a request can load it."},
    "deprecated": {
        "type": "boolean",
        "description": "Whether new applications should not use it. It is still served.",
    },
    "deprecation_note": _string(entries.MAX_NOTE, _LINES, "Why, and what to use instead."),
}

CHANGES: dict[str, Any] = {
    "type": "object",
    "title": "ModelChanges",
    "description": "Omitted fields do not change; null clears a field.",
    "additionalProperties": False,
    "properties": FIELDS,
}

_OF_AN_ENTRY: dict[str, Any] = {
    **FIELDS,
    "path": {
        "type": "string",
        "nullable": True,
        "maxLength": entries.MAX_PATH,
        "pattern": LINE,
        "description": "For a new local model: its GGUF file, in a model folder.",
    },
}

ENTRY_BY_KEY: dict[str, Any] = {
    "type": "object",
    "title": "ModelByKey",
    "required": ["key"],
    "additionalProperties": False,
    "properties": {
        "key": {
            "type": "string",
            "maxLength": keys.MAX_KEY_LENGTH,
            "pattern": rf"^{keys.SLUG_PATTERN}:{_ID}[A-Za-z0-9]$",
            "description": "`<provider>:<model id>`",
        },
        **_OF_AN_ENTRY,
    },
}
ENTRY_BY_NAME: dict[str, Any] = {
    "type": "object",
    "title": "ModelByProviderAndId",
    "required": ["provider", "model"],
    "additionalProperties": False,
    "properties": {
        "provider": {"type": "string", "pattern": SLUG_PATTERN},
        "model": {"type": "string", "pattern": rf"^{_ID}[A-Za-z0-9]$"},
        **_OF_AN_ENTRY,
    },
}
ENTRY: dict[str, Any] = {"oneOf": [ENTRY_BY_KEY, ENTRY_BY_NAME]}

REGISTRATION: dict[str, Any] = {
    "oneOf": [
        ENTRY_BY_KEY,
        ENTRY_BY_NAME,
        {
            "type": "object",
            "title": "ManyModels",
            "required": ["models"],
            "additionalProperties": False,
            "properties": {
                "models": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_MODELS,
                    "items": ENTRY,
                    "description": "Either all of them are registered, or none.",
                }
            },
        },
    ]
}

TAG_CHANGES: dict[str, Any] = {
    "type": "object",
    "title": "TagChanges",
    "additionalProperties": False,
    "properties": {
        "add": tags("Tags to add to the model."),
        "remove": tags("Tags to remove from it."),
    },
}

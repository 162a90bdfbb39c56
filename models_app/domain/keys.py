"""Names: model keys, provider slugs and route names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models_app.domain.errors import InvalidRequest
from models_app.domain.provider_kinds import SLUG_ALIASES

MAX_KEY_LENGTH = 255

# Literal words of /api/v1/models/<word>: a provider with such a slug could never be addressed.
RESERVED_SLUGS = frozenset(
    {
        "load",
        "unload",
        "switch",
        "loaded",
        "current",
        "statistics",
        "discover",
        "save-state",
        "state",
        "export",
        "import",
        "models",
        "profile",
        "capabilities",
        "tags",
        "versions",
        "instances",
    }
)

# Words after a key, as in /api/v1/models/{key}/tags: the model `a/tags` could never be addressed.
RESERVED_ENDINGS = frozenset(
    {
        "capabilities",
        "history",
        "probe",
        "tags",
        "versions",
        "instances",
        "usage",
        "profile",
        "profiles",
    }
)

SLUG_PATTERN = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
MODEL_ID_PATTERN = r"(?!.*(?:\.\.|//))[A-Za-z0-9](?:[A-Za-z0-9._:/@+ -]{0,188}[A-Za-z0-9])?"
KEY_PATTERN = f"{SLUG_PATTERN}:{MODEL_ID_PATTERN}"
ROUTE_PATTERN = SLUG_PATTERN

_SLUG = re.compile(SLUG_PATTERN)
_MODEL_ID = re.compile(MODEL_ID_PATTERN)
_ROUTE = re.compile(ROUTE_PATTERN)
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._:/@+-]+")


@dataclass(frozen=True, slots=True)
class ModelKey:
    """`<provider>:<model id>`. The id can hold `/`, `:` and `.`; the provider slug never holds `:`."""

    provider: str
    model_id: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model_id}"

    @classmethod
    def parse(cls, text: str) -> ModelKey:
        """Parse a key; raises InvalidRequest when it is not well-formed."""
        provider, colon, model_id = text.partition(":")
        if not colon:
            raise InvalidRequest(
                f"'{text[:80]}' is not a model key. A key is '<provider>:<model id>', "
                "for example 'llama.cpp:qwen2.5-0.5b-q4_k_m'.",
                code="invalid_key",
                param="key",
            )
        return cls(canonical_slug(provider), checked_model_id(model_id))


def canonical_slug(slug: str) -> str:
    """The provider slug for `slug`, aliases resolved; raises InvalidRequest for an invalid one."""
    slug = SLUG_ALIASES.get(slug, slug)
    if not _SLUG.fullmatch(slug) or slug in RESERVED_SLUGS:
        raise InvalidRequest(
            f"'{slug[:80]}' cannot be a provider: use lower-case letters, digits, '.', '_' and '-', "
            "and none of the words that the API reserves.",
            code="invalid_provider",
            param="provider",
        )
    return slug


def checked_model_id(model_id: str) -> str:
    if not _MODEL_ID.fullmatch(model_id):
        raise InvalidRequest(
            f"'{model_id[:80]}' cannot be a model id: use letters, digits and . _ : / @ + - "
            "(up to 190 characters), starting and ending with a letter or digit.",
            code="invalid_model_id",
            param="model",
        )
    if "/" in model_id and model_id.rpartition("/")[2] in RESERVED_ENDINGS:
        raise InvalidRequest(
            f"'{model_id}' cannot be a model id: the API reserves the word after the last '/'.",
            code="invalid_model_id",
            param="model",
        )
    return model_id


def cleaned_model_id(text: str, edges: str) -> str:
    """A model id from a foreign name, with `edges` stripped from both ends. Raises InvalidRequest."""
    return checked_model_id(_NOT_IN_AN_ID.sub("-", text).strip(edges))


def checked_route_name(name: str) -> str:
    if not _ROUTE.fullmatch(name):
        raise InvalidRequest(
            f"'{name[:80]}' cannot be a route name: use lower-case letters, digits, '.', '_' and '-'.",
            code="invalid_route",
            param="route",
        )
    return name

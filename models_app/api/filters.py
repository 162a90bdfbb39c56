"""The query parameters of model lists, and the backend that reads them."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from models_app.api import query
from models_app.api.serializers.entries import SLUG_PATTERN
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.entries import MAX_TAG, MAX_TOKENS, checked_tag
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import canonical_slug
from models_app.domain.states import ModelStatus
from models_app.services.catalog.searching import ORDERINGS, Search

# Larger than any file.
_MAX_SIZE = 10**15
_MAX_TEXT = 200
_REPEATABLE = frozenset({"capability", "status", "tag"})
_ORDERINGS = [sign + name for name in ORDERINGS for sign in ("", "-")]


def _number(name: str, description: str, high: int) -> OpenApiParameter:
    schema = {"type": "integer", "minimum": 0, "maximum": high}
    return OpenApiParameter(name, schema, description=description)


def _any_of(name: str, values: type[Any] | None, description: str) -> OpenApiParameter:
    item: dict[str, Any] = {"type": "string"}
    if values is None:
        # A tag has no comma and is not only spaces.
        item |= {
            "minLength": 1,
            "maxLength": MAX_TAG,
            "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$",
        }
    else:
        item["enum"] = [value.value for value in values]
    return OpenApiParameter(name, {"type": "array", "items": item}, description=description)


def _text(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, query.text_schema(_MAX_TEXT), description=description)


PARAMETERS = [
    _any_of(
        "capability",
        Capability,
        "What the model can do. May be repeated: models that have all of them.",
    ),
    OpenApiParameter(
        "proven",
        bool,
        description="`true`: only what a probe has proven for the present version counts as a capability.",
    ),
    _any_of("status", ModelStatus, "The model's status. May be repeated: any of them."),
    _any_of("tag", None, "A tag, whatever its case. May be repeated: models that have any of them."),
    OpenApiParameter("deprecated", bool, description="`false` excludes deprecated models."),
    OpenApiParameter("gone", bool, description="`true`: models that their provider no longer lists."),
    _number("min_context_window", "At least this many tokens of context.", MAX_TOKENS),
    _number("max_context_window", "At most this many tokens of context.", MAX_TOKENS),
    _number("min_size_bytes", "The file has at least this many bytes.", _MAX_SIZE),
    _number("max_size_bytes", "The file has at most this many bytes.", _MAX_SIZE),
    _text("quantization", "The file's quantization, whatever the case: `Q4_K_M`."),
    _text("architecture", "The file's architecture, whatever the case: `llama`."),
    _text("name", "Part of the key or the name, whatever the case."),
    _text("q", "Part of the key, the name or the description, whatever the case."),
    OpenApiParameter(
        "ordering",
        {"type": "string", "enum": _ORDERINGS, "default": "key"},
        description="What to order by; with `-`, the largest first. Models without a value come last.",
    ),
]
PROVIDER = OpenApiParameter(
    "provider",
    {"type": "string", "pattern": SLUG_PATTERN},
    description="The provider's slug. One that is not configured has no models.",
)


class SearchBackend(BaseFilterBackend):
    """Searches all models. Instead of a queryset it takes `listing.page`, and binds the search to it."""

    known: ClassVar[list[OpenApiParameter]] = [PROVIDER, *PARAMETERS]

    def parameters(self, view: Any) -> list[OpenApiParameter]:
        return self.known

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        search = read(request, provider=view.kwargs.get("provider"))
        return lambda number, size: queryset(search=search, number=number, size=size)


class ProviderSearchBackend(SearchBackend):
    """Searches the models of the provider that the path names."""

    known = PARAMETERS


def read(request: Request, *, provider: str | None = None) -> Search:
    """The search of a request. Raises InvalidRequest for a parameter that is wrong or repeated.

    `provider` is the slug in the path, if the path has one.
    """
    _refuse_repeated(request)
    named = provider or query.text(request, "provider")
    return Search(
        provider=canonical_slug(named) if named is not None else None,
        capabilities=tuple(query.choices(request, "capability", list(Capability))),
        proven=query.flag(request, "proven") or False,
        statuses=tuple(query.choices(request, "status", list(ModelStatus))),
        tags=tuple(checked_tag(tag, "tag") for tag in request.query_params.getlist("tag")),
        deprecated=query.flag(request, "deprecated"),
        gone=query.flag(request, "gone"),
        min_context_window=query.given_integer(request, "min_context_window", low=0, high=MAX_TOKENS),
        max_context_window=query.given_integer(request, "max_context_window", low=0, high=MAX_TOKENS),
        min_size_bytes=query.given_integer(request, "min_size_bytes", low=0, high=_MAX_SIZE),
        max_size_bytes=query.given_integer(request, "max_size_bytes", low=0, high=_MAX_SIZE),
        quantization=query.text(request, "quantization", longest=_MAX_TEXT),
        architecture=query.text(request, "architecture", longest=_MAX_TEXT),
        name=query.text(request, "name", longest=_MAX_TEXT),
        text=query.text(request, "q", longest=_MAX_TEXT),
        ordering=query.choice(request, "ordering", _ORDERINGS) or "key",
    )


def _refuse_repeated(request: Request) -> None:
    for name in request.query_params:
        if name not in _REPEATABLE and len(request.query_params.getlist(name)) > 1:
            raise InvalidRequest(f"Give '{name}' once.", param=name)

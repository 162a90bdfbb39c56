"""A whole registry as one JSON document, which an export writes and an import reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from models_app.domain.addresses import MAX_URL_LENGTH
from models_app.domain.catalog import entries
from models_app.domain.catalog.entries import Entry, refuse_unknown
from models_app.domain.catalog.provider_settings import ProviderSettings, check_remote
from models_app.domain.errors import InvalidRequest, NoaError
from models_app.domain.json_body import Fields
from models_app.domain.keys import ModelKey, canonical_slug, checked_route_name
from models_app.domain.provider_kinds import LOCAL_KIND, ProviderKind

FORMAT = "noa-registry"
VERSION = 1
# Approximately the number that fits into the largest body that NOA accepts by default.
MAX_MODELS = 20_000
MAX_PROVIDERS = 200
MAX_ROUTES = 1_000
MAX_FALLBACKS = 8

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROVIDER_FIELDS = (
    "slug",
    "kind",
    "name",
    "base_url",
    "enabled",
    "secret_env",
    "allow_private_addresses",
    "timeouts",
)
_FILE_FIELDS = (
    "path",
    "sha256",
    "size_bytes",
    "quantization",
    "architecture",
    "template_digest",
)
_ROUTE_FIELDS = ("name", "target", "fallbacks", "description")


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    slug: str
    settings: ProviderSettings


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The recorded facts of a local model's file, which is read again before it is used."""

    path: str
    sha256: str
    size_bytes: int
    quantization: str
    architecture: str
    template_digest: str


@dataclass(frozen=True, slots=True)
class ModelLine:
    entry: Entry
    file: ModelFile | None


@dataclass(frozen=True, slots=True)
class RouteEntry:
    name: str
    target: str | None
    fallbacks: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Document:
    providers: list[ProviderEntry]
    models: list[ModelLine]
    routes: list[RouteEntry]


def parse(data: Mapping[str, Any]) -> Document:
    """Parse a document; raises InvalidRequest that names the place, for example `models[12].price.input`."""
    known = ("format", "version", "exported_at", "providers", "models", "routes")
    refuse_unknown(data, known, "")
    version = data.get("version")
    if data.get("format") != FORMAT or type(version) is not int or version != VERSION:
        raise InvalidRequest(
            f"This is not an exported registry: 'format' must be '{FORMAT}' and 'version' {VERSION}.",
            param="format",
        )
    fields = Fields(data)
    return Document(
        providers=_each(fields, "providers", MAX_PROVIDERS, _provider, lambda provider: provider.slug),
        models=_each(fields, "models", MAX_MODELS, _model, lambda line: str(line.entry.key)),
        routes=_each(fields, "routes", MAX_ROUTES, _route, lambda route: route.name),
    )


Parsed = TypeVar("Parsed")


def _each(
    fields: Fields,
    name: str,
    limit: int,
    parse_one: Callable[[Fields], Parsed],
    named: Callable[[Parsed], str],
) -> list[Parsed]:
    if name not in fields.data:
        return []
    found = [_placed(parse_one, item) for item in fields.each(name, 0, limit)]
    _refuse_twice(name, [named(item) for item in found])
    return found


def _placed(parse_one: Callable[[Fields], Parsed], fields: Fields) -> Parsed:
    """Adds the place in the document to errors of checks that do not have it."""
    try:
        return parse_one(fields)
    except NoaError as error:
        param = error.param or ""
        if not param.startswith(fields.prefix):
            error.param = f"{fields.prefix}{param}".removesuffix(".")
        if fields.prefix not in error.message:
            error.message = f"{fields.prefix.removesuffix('.')}: {error.message}"
        raise


def _refuse_twice(name: str, found: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, key in enumerate(found):
        if key in seen:
            place = f"{name}[{index}]"
            raise InvalidRequest(f"{place}: '{key}' is named twice.", code="named_twice", param=place)
        seen.add(key)


def _required(fields: Fields, name: str, limit: int) -> str:
    value = fields.text(name, limit)
    if not value:
        raise fields.refusal(name, f"a string of 1 to {limit:,} characters")
    return value


def _line(fields: Fields, name: str, limit: int) -> str:
    return entries.line(fields.data.get(name), fields.path(name), limit=limit)


def _named(fields: Fields, name: str, parse_one: Callable[[str], Parsed], text: str) -> Parsed:
    """Parses the text of the field `name`: errors have its place, whatever the check calls it."""
    try:
        return parse_one(text)
    except InvalidRequest as error:
        error.param = fields.path(name)
        raise


def _provider(fields: Fields) -> ProviderEntry:
    refuse_unknown(fields.data, _PROVIDER_FIELDS, fields.prefix)
    kind = fields.choice("kind", tuple(ProviderKind))
    if kind is None:
        raise fields.refusal("kind", "one of " + ", ".join(ProviderKind))
    settings = ProviderSettings(
        kind=ProviderKind(kind),
        name=_line(fields, "name", 100),
        base_url=fields.text("base_url", MAX_URL_LENGTH) or "",
        # Without a value in the document, a key that is configured here stays.
        secret_env=fields.text("secret_env", 100) or None,
        allow_private_addresses=fields.boolean("allow_private_addresses"),
        timeouts=fields.object("timeouts") or {},
        enabled=fields.boolean("enabled", default=True),
    )
    slug = _named(fields, "slug", canonical_slug, _required(fields, "slug", 64))
    if slug == LOCAL_KIND and not settings.base_url:
        return ProviderEntry(slug, settings)  # the files of this machine
    return ProviderEntry(check_remote(slug, settings), settings)


def _model(fields: Fields) -> ModelLine:
    plain = {name: value for name, value in fields.data.items() if name != "file"}
    if "path" in plain:
        raise InvalidRequest(
            f"'{fields.path('path')}' is not a field here: it belongs in 'file'.",
            code="unknown_field",
            param=fields.path("path"),
        )
    file = None
    if fields.object("file") is not None:
        file = _file(fields.inner("file"))
    return ModelLine(entries.parse_entry(plain, fields.prefix), file)


def _file(fields: Fields) -> ModelFile:
    refuse_unknown(fields.data, _FILE_FIELDS, fields.prefix)
    digest = _required(fields, "sha256", 64)
    if not _SHA256.fullmatch(digest):
        raise fields.refusal("sha256", "64 hexadecimal digits")
    size = fields.integer("size_bytes", 0, 2**63 - 1)
    if size is None:
        raise fields.refusal("size_bytes", "the size of the file")
    return ModelFile(
        path=_line(fields, "path", entries.MAX_PATH),
        sha256=digest,
        size_bytes=size,
        quantization=_line(fields, "quantization", 32),
        architecture=_line(fields, "architecture", 64),
        template_digest=_line(fields, "template_digest", 64),
    )


def _route(fields: Fields) -> RouteEntry:
    refuse_unknown(fields.data, _ROUTE_FIELDS, fields.prefix)
    target = fields.text("target", 255)
    fallbacks = fields.items("fallbacks", 0, MAX_FALLBACKS) or []
    for key in fallbacks:
        if not isinstance(key, str):
            raise fields.refusal("fallbacks", "a list of model keys")
    return RouteEntry(
        name=_named(fields, "name", checked_route_name, _required(fields, "name", 64)),
        target=None if target is None else str(_named(fields, "target", ModelKey.parse, target)),
        fallbacks=tuple(str(_named(fields, "fallbacks", ModelKey.parse, key)) for key in fallbacks),
        description=_line(fields, "description", 255),
    )

"""The providers that environment variables define, parsed strictly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings

from models_app.domain.addresses import checked_url
from models_app.domain.catalog.provider_settings import ProviderSettings, check_remote
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import canonical_slug
from models_app.domain.provider_kinds import KINDS, ProviderKind


class ProviderEntry(BaseModel):
    """One entry of NOA_PROVIDERS. Its errors do not contain its values: some are secret."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    slug: str
    kind: ProviderKind = Field(strict=False)
    name: str = Field(default="", max_length=100)
    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    secret_env: str = ""
    allow_private_addresses: bool = False
    timeouts: dict[str, float] = {}
    enabled: bool = True

    @field_validator("slug")
    @classmethod
    def canonical(cls, value: str) -> str:
        try:
            return canonical_slug(value)
        except InvalidRequest as error:
            raise ValueError(error.message) from None

    @model_validator(mode="after")
    def usable(self) -> Self:
        try:
            check_remote(self.slug, self.settings())
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return self

    def settings(self) -> ProviderSettings:
        """The settings; a missing API key is empty, so that none of an earlier start remains."""
        return ProviderSettings(**{name: getattr(self, name) for name in _FIELDS})


_FIELDS = ProviderSettings.__dataclass_fields__.keys()


def parse(text: Any) -> Any:
    """The list in a variable's text; raises ValueError without the text, which can hold secrets."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("must be a JSON list of objects, each with 'slug' and 'kind'") from None
    if isinstance(value, list):
        slugs = [entry.get("slug") for entry in value if isinstance(entry, dict)]
        if len(set(map(str, slugs))) < len(slugs):
            raise ValueError("names a 'slug' twice")
    return value


def _allowed_address(value: str | None) -> str | None:
    try:
        if value:
            checked_url(value)
    except InvalidRequest as error:
        raise ValueError(f"{error.message} An entry of NOA_PROVIDERS has this switch.") from None
    return value


_BaseUrl = Annotated[str | None, AfterValidator(_allowed_address)]


def _well_known_fields() -> dict[str, Any]:
    """Two settings for each kind that has variables: the name of each field is its variable in lower case."""
    fields: dict[str, Any] = {}
    for row in KINDS.values():
        if row.variables:
            key, url = row.variables
            fields[key.lower()] = (SecretStr | None, Field(default=None, validation_alias=key))
            fields[url.lower()] = (_BaseUrl, Field(default=None, validation_alias=url))
    return fields


if TYPE_CHECKING:

    class WellKnownVariables(BaseSettings):
        """Variables of providers that other programs read too, such as OPENAI_API_KEY, from the table of kinds."""
else:
    WellKnownVariables = create_model("WellKnownVariables", __base__=BaseSettings, **_well_known_fields())


def well_known_providers(config: WellKnownVariables) -> list[tuple[str, ProviderSettings]]:
    """The providers whose keys are in such variables, each with the slug of its kind."""
    found: list[tuple[str, ProviderSettings]] = []
    for kind, row in KINDS.items():
        if row.variables:
            key, url = row.variables
            found += well_known(kind, key, getattr(config, key.lower()), getattr(config, url.lower()))
    return found


def well_known(
    kind: ProviderKind, variable: str, key: SecretStr | None, base_url: str | None
) -> list[tuple[str, ProviderSettings]]:
    """The provider of a key in `variable`, which other programs read too; none without a key."""
    if not key:
        return []
    settings = ProviderSettings(kind=kind, base_url=base_url or "", api_key=SecretStr(""), secret_env=variable)
    return [(kind.value, settings)]

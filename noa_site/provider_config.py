"""The providers that environment variables name, read strictly."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from models_app.domain.catalog.provider_settings import ProviderSettings, check_remote
from models_app.domain.catalog.providers import ProviderKind
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import canonical_slug


class ProviderEntry(BaseModel):
    """One entry of NOA_PROVIDERS. What is wrong with it is said without its values: some are secret."""

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
        """A key that is not named is none: nothing stays of what an earlier start was given."""
        return ProviderSettings(**{name: getattr(self, name) for name in _FIELDS})


_FIELDS = ProviderSettings.__dataclass_fields__.keys()


def parse(text: Any) -> Any:
    """The list in a variable's text; raises ValueError that does not hold the text."""
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


def well_known(
    kind: ProviderKind, variable: str, key: SecretStr | None, base_url: str | None
) -> list[tuple[str, ProviderSettings]]:
    """The provider that a key in `variable`, which other programs know too, stands for; none without a key."""
    if not key:
        return []
    given = ProviderSettings(kind=kind, base_url=base_url or "", api_key=SecretStr(""), secret_env=variable)
    return [(kind.value, given)]

"""The settings of a provider, whether they come from the API, the console or the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from models_app.domain import addresses
from models_app.domain.catalog.providers import checked_secret, checked_secret_env, checked_timeouts
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import canonical_slug
from models_app.domain.provider_kinds import KINDS, LOCAL_KIND, ProviderKind


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The settings of one provider. A secret is either `api_key`, which no representation shows, or a variable's name.

    base_url    '' is the kind's own address; for `llama.cpp`, files on this machine
    api_key     None keeps the present key; an empty one removes it
    secret_env  None keeps the present name, '' removes it
    """

    kind: ProviderKind
    name: str = ""
    base_url: str = ""
    api_key: SecretStr | None = None
    secret_env: str | None = None
    allow_private_addresses: bool = False
    timeouts: Mapping[str, object] = field(default_factory=dict)
    enabled: bool = True

    def check(self) -> None:
        """Raises InvalidRequest that names the field and never holds the secret."""
        if self.base_url:
            addresses.checked_url(self.base_url, allow_private=self.allow_private_addresses)
        checked_timeouts(self.timeouts)
        if self.api_key and self.secret_env:
            raise InvalidRequest(
                "Give either 'api_key' or 'secret_env', not both.",
                code="invalid_secret",
                param="secret_env",
            )
        if self.secret_env:
            checked_secret_env(self.secret_env)
        if self.api_key:
            checked_secret(self.api_key.get_secret_value())


def check_remote(slug: str, settings: ProviderSettings) -> str:
    """The canonical name of a provider that answers over the network; raises InvalidRequest for invalid settings."""
    canonical = canonical_slug(slug)
    settings.check()
    if KINDS[settings.kind].reads_files and not settings.base_url:
        raise InvalidRequest(
            f"A provider of the kind '{settings.kind}' needs the 'base_url' of a server. The files of this machine"
            f" have a provider already: '{LOCAL_KIND}'.",
            code="missing_base_url",
            param="base_url",
        )
    return canonical

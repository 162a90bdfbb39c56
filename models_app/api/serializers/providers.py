"""Bodies of providers. Secrets are write-only."""

from __future__ import annotations

from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from pydantic import SecretStr
from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.addresses import MAX_URL_LENGTH, URL_PATTERN
from models_app.domain.catalog.providers import MAX_SECRET_LENGTH, TIMEOUT_LIMITS
from models_app.domain.keys import SLUG_PATTERN
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.contact import Contact

_ORIGINS = ["api", "console", "environment", "built-in"]
_CIRCUIT_STATES = ["closed", "open", "half_open"]


# The patterns only document the fields; `models_app.domain` checks the values.
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]+$"


def _text(pattern: str, longest: int, description: str, *, nullable: bool = False) -> Any:
    return extend_schema_field(
        {
            "type": "string",
            "maxLength": longest,
            "pattern": pattern,
            "description": description,
            **({"nullable": True} if nullable else {}),
        }
    )


@_text(f"^(?:{SLUG_PATTERN})$", 64, "The part of its models' keys before the colon.")
class SlugField(serializers.CharField):
    pass


@_text(
    f"^{URL_PATTERN}$",
    MAX_URL_LENGTH,
    "With its version path, like `http://127.0.0.1:11434/v1`; empty: the default of the kind.",
)
class BaseUrlField(serializers.CharField):
    pass


@_text(
    r"^[!-~](?:[ -~]*[!-~])?$",
    MAX_SECRET_LENGTH,
    "Stored encrypted, never shown again. null removes it.",
    nullable=True,
)
class ApiKeyField(serializers.CharField):
    pass


@_text(
    "^[A-Z][A-Z0-9_]{1,99}$",
    100,
    "The environment variable of the server that holds the key, in place of `api_key`.",
    nullable=True,
)
class SecretEnvField(serializers.CharField):
    pass


@_text(_ONE_LINE, 100, "The display name.")
class NameField(serializers.CharField):
    pass


class TimeoutsInput(StrictInput):
    """Seconds. Omitted or null: NOA's default."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            name: serializers.FloatField(required=False, allow_null=True, min_value=low, max_value=high)
            for name, (low, high) in TIMEOUT_LIMITS.items()
        }


class ProviderChanges(StrictInput):
    """The fields that can be changed."""

    name = NameField(required=False, allow_blank=True, max_length=100, validators=[RegexValidator(_ONE_LINE)])
    base_url = BaseUrlField(required=False, allow_blank=True, max_length=MAX_URL_LENGTH)
    api_key = ApiKeyField(
        required=False,
        allow_null=True,
        write_only=True,
        trim_whitespace=False,
        max_length=MAX_SECRET_LENGTH,
    )
    secret_env = SecretEnvField(required=False, allow_null=True, allow_blank=True, max_length=100)
    allow_private_addresses = serializers.BooleanField(
        required=False, help_text="Whether NOA can connect to it in a private network."
    )
    timeouts = TimeoutsInput(required=False)
    enabled = serializers.BooleanField(required=False)

    def settings(self) -> dict[str, Any]:
        """The fields of the body as `models_app.domain.catalog.provider_settings` takes them."""
        fields: dict[str, Any] = dict(self.validated_data)
        if fields.get("secret_env", "") is None:
            fields["secret_env"] = ""
        if "api_key" in fields:
            fields["api_key"] = SecretStr(fields["api_key"] or "")
        return fields


class ProviderInput(ProviderChanges):
    slug = SlugField(max_length=64)
    kind = serializers.ChoiceField(choices=list(ProviderKind))


class TimeoutsOutput(serializers.Serializer[Any]):
    connect = serializers.FloatField(allow_null=True)
    first_byte = serializers.FloatField(allow_null=True)
    idle = serializers.FloatField(allow_null=True)
    total = serializers.FloatField(allow_null=True)


class CircuitOutput(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=_CIRCUIT_STATES)
    reason = serializers.CharField(allow_blank=True)
    changed_at = serializers.DateTimeField(allow_null=True)


class ProviderStateOutput(serializers.Serializer[Any]):
    """What the last request, test or discovery met."""

    name = serializers.ChoiceField(choices=["local", "disabled", "paused", *Contact])
    at = serializers.DateTimeField(allow_null=True, help_text="The time of the last contact, to the minute.")
    reason = serializers.CharField(allow_blank=True)
    until = serializers.DateTimeField(allow_null=True, help_text="Until then, it gets no requests.")


class ProviderOutput(serializers.Serializer[Any]):
    slug = serializers.CharField()
    kind = serializers.ChoiceField(choices=list(ProviderKind))
    name = serializers.CharField(allow_blank=True)
    base_url = serializers.CharField(allow_null=True)
    is_remote = serializers.BooleanField()
    enabled = serializers.BooleanField()
    has_secret = serializers.BooleanField()
    secret_source = serializers.ChoiceField(choices=["stored", "environment"], allow_null=True)
    secret_env = serializers.CharField(allow_null=True)
    allow_private_addresses = serializers.BooleanField()
    timeouts = TimeoutsOutput()
    origin = serializers.ChoiceField(choices=_ORIGINS)
    state = ProviderStateOutput()
    circuit = CircuitOutput()
    discovered_at = serializers.DateTimeField(allow_null=True)
    discovery_error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ProviderListOutput(serializers.Serializer[Any]):
    providers = ProviderOutput(many=True)


class ProviderTrialOutput(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    code = serializers.CharField(allow_null=True, help_text="The error code when it is not ok.")
    message = serializers.CharField(help_text="The outcome, as a sentence.")
    models = serializers.IntegerField(allow_null=True)
    seconds = serializers.FloatField()


@_text(f"^(?:{SLUG_PATTERN})$", 64, "Only this one; if omitted, all enabled ones.")
class DiscoveredField(serializers.CharField):
    pass


class DiscoverInput(StrictInput):
    provider = DiscoveredField(required=False, max_length=64)

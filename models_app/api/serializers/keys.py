"""API keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.api.serializers.names import AllowedModelField
from models_app.domain.scopes import Scope
from models_app.domain.traffic import limits
from models_app.models import ApiKey
from models_app.services.api_keys import keys

LOAD_ON_DEMAND = "Whether its requests load models that are not loaded."
MAY_EVICT = "Whether these loads can evict other models."
_ALLOWED = "Routes, model keys and `<provider>:*` that the key can use; empty is all."
_LIMITS = "Omitted limits have the default of all keys (`NOA_KEY_LIMITS`); 0 is no limit."


class LimitsInput(StrictInput):
    requests_per_minute = serializers.IntegerField(required=False, min_value=0, max_value=10**9)
    tokens_per_minute = serializers.IntegerField(required=False, min_value=0, max_value=10**9)
    max_concurrent = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    monthly_tokens = serializers.IntegerField(required=False, min_value=0, max_value=10**12)
    monthly_budget_usd = serializers.FloatField(required=False, min_value=0, max_value=1e9)
    addresses = serializers.ListField(
        required=False,
        child=serializers.CharField(max_length=64),
        max_length=limits.MOST_ADDRESSES,
        help_text="IP addresses and networks that can use the key; empty is all.",
    )


class ApiKeyChanges(StrictInput):
    name = serializers.RegexField(
        r"\S", required=False, max_length=100, help_text="Which application or person uses it."
    )
    scopes = serializers.ListField(
        required=False,
        child=serializers.ChoiceField(choices=list(Scope)),
        min_length=1,
        max_length=len(Scope),
    )
    allowed_models = serializers.ListField(
        required=False,
        child=AllowedModelField(max_length=255),
        max_length=keys.MAX_ALLOWED_MODELS,
        help_text=_ALLOWED,
    )
    load_on_demand = serializers.BooleanField(required=False, help_text=LOAD_ON_DEMAND)
    may_evict = serializers.BooleanField(required=False, help_text=MAY_EVICT)
    limits = LimitsInput(required=False, help_text=_LIMITS)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="A time in the future; null: it does not expire."
    )


class ApiKeyInput(ApiKeyChanges):
    name = serializers.RegexField(r"\S", max_length=100, help_text="Which application or person uses it.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(Scope)),
        min_length=1,
        max_length=len(Scope),
    )


class ApiKeyOutput(serializers.Serializer[Any]):
    key_id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["active", "expired", "revoked"])
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(Scope)))
    allowed_models = serializers.ListField(child=serializers.CharField(), help_text=_ALLOWED)
    load_on_demand = serializers.BooleanField(help_text=LOAD_ON_DEMAND)
    may_evict = serializers.BooleanField(help_text=MAY_EVICT)
    limits = LimitsInput(help_text=_LIMITS)
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="Its last request through the gateway.")
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_blank=True)


class NewApiKeyOutput(ApiKeyOutput):
    key = serializers.CharField(help_text="The key itself. No other response contains it.")


class ApiKeyListOutput(serializers.Serializer[Any]):
    api_keys = ApiKeyOutput(many=True)
    next = serializers.URLField(allow_null=True)


class MeOutput(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["api_key", "session"])
    name = serializers.CharField()
    key_id = serializers.CharField(allow_null=True)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(Scope)))
    allowed_models = serializers.ListField(child=serializers.CharField(), help_text=_ALLOWED)
    expires_at = serializers.DateTimeField(allow_null=True)


def represent_key(key: ApiKey, last_used: Mapping[str, datetime]) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "state": keys.state_of(key),
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "load_on_demand": key.load_on_demand,
        "may_evict": key.may_evict,
        "limits": key.limits,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": last_used.get(key.key_id),
        "created_at": key.created_at,
        "created_by": key.created_by,
    }

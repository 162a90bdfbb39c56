"""Bodies of text rules, and of stored prompts and answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.traffic.texts import LARGEST
from models_app.models import AccessText, TextRule


class TextRuleInput(StrictInput):
    """A rule for one API key or one route."""

    key_id = serializers.CharField(required=False, max_length=32)
    route = serializers.CharField(required=False, max_length=64)
    share = serializers.FloatField(required=False, default=1.0, min_value=0, max_value=1, help_text="Of the requests.")
    max_bytes = serializers.IntegerField(
        required=False, default=16_384, min_value=1, max_value=LARGEST, help_text="Of each text."
    )
    days = serializers.IntegerField(
        required=False, default=7, min_value=1, max_value=3_650, help_text="Until it is deleted."
    )


class TextRuleOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    subject = serializers.CharField(help_text="`key:<id>` or `route:<name>`")
    share = serializers.FloatField()
    max_bytes = serializers.IntegerField()
    days = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_blank=True)


class TextRuleListOutput(serializers.Serializer[Any]):
    rules = TextRuleOutput(many=True)


class TextsOutput(serializers.Serializer[Any]):
    request_id = serializers.CharField()
    started_at = serializers.DateTimeField()
    delete_at = serializers.DateTimeField()
    key_id = serializers.CharField(allow_blank=True)
    route = serializers.CharField(allow_blank=True)
    model_key = serializers.CharField(allow_blank=True)
    prompt = serializers.CharField(allow_blank=True, help_text="The body of the request.")
    answer = serializers.CharField(allow_blank=True, help_text="The body of the answer.")
    is_cut = serializers.BooleanField(help_text="Whether one of them was longer than `max_bytes`.")


_RULE = ("id", "subject", "share", "max_bytes", "days", "created_at", "created_by")
_TEXTS = (
    "request_id",
    "started_at",
    "delete_at",
    "key_id",
    "route",
    "model_key",
    "prompt",
    "answer",
    "is_cut",
)


def represent_rule(rule: TextRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in _RULE}


def represent_texts(texts: AccessText) -> dict[str, Any]:
    return {name: getattr(texts, name) for name in _TEXTS}

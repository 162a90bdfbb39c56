"""The rule by which a route switches automatically."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.residency.autoswitch import CURVES, DEFAULT_WEIGHTS, Decision
from models_app.models import AutoSwitch
from models_app.services.desired_state import autoswitch

_WEIGHTS = f"How much each figure counts: {', '.join(CURVES)}. Default: {dict(DEFAULT_WEIGHTS)}."


class WeightsInput(StrictInput):
    """The weights: one field for each figure of a score."""

    def get_fields(self) -> dict[str, Any]:
        return {name: serializers.FloatField(required=False, min_value=0, max_value=100) for name in CURVES}


class AutoSwitchInput(StrictInput):
    enabled = serializers.BooleanField(default=False)
    dry_run = serializers.BooleanField(default=False, help_text="Decide and record, without moving.")
    capability = serializers.ChoiceField(
        choices=[str(item) for item in Capability],
        default="chat_completion",
        help_text="Only loaded models that have it are candidates.",
    )
    weights = WeightsInput(required=False, help_text=_WEIGHTS)
    threshold = serializers.FloatField(
        min_value=0.01,
        max_value=10,
        default=0.15,
        help_text="The share by which a model's score must exceed that of the present target.",
    )
    confirmations = serializers.IntegerField(
        min_value=1, max_value=1000, default=3, help_text="Consecutive evaluations, one a minute, that must agree."
    )
    cool_down_seconds = serializers.IntegerField(
        min_value=60, max_value=30 * 86_400, default=1800, help_text="The minimum time between two moves."
    )
    min_requests = serializers.IntegerField(
        min_value=5, max_value=1_000_000, default=30, help_text="The minimum number of requests for a decision."
    )


class ScoreOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    basis = serializers.CharField(help_text="`traffic` of the last hour, or `profiles`.")
    score = serializers.FloatField(allow_null=True)
    present_score = serializers.FloatField(allow_null=True)
    lead = serializers.FloatField(allow_null=True, help_text="null: not enough data.")
    requests = serializers.IntegerField()
    present_requests = serializers.IntegerField()
    figures = serializers.DictField(child=serializers.FloatField(allow_null=True))
    present_figures = serializers.DictField(child=serializers.FloatField(allow_null=True))


class StandingOutput(serializers.Serializer[Any]):
    leader = serializers.CharField(allow_blank=True)
    looks = serializers.IntegerField(help_text="Consecutive checks in which it led.")
    moved_at = serializers.FloatField(allow_null=True, help_text="Unix seconds.")


class DecisionOutput(serializers.Serializer[Any]):
    move = serializers.BooleanField()
    to = serializers.CharField(allow_blank=True)
    reason = serializers.CharField()
    why = serializers.CharField()
    standing = StandingOutput()
    scores = ScoreOutput(many=True)


class NotedDecisionOutput(DecisionOutput):
    outcome = serializers.CharField(help_text="`moved`, `would move` or `kept`.")


class AutoSwitchOutput(serializers.Serializer[Any]):
    route = serializers.CharField()
    enabled = serializers.BooleanField()
    dry_run = serializers.BooleanField()
    capability = serializers.CharField()
    weights = serializers.DictField(child=serializers.FloatField())
    threshold = serializers.FloatField()
    confirmations = serializers.IntegerField()
    cool_down_seconds = serializers.IntegerField()
    min_requests = serializers.IntegerField()
    moved_at = serializers.DateTimeField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision = NotedDecisionOutput(allow_null=True, help_text="The last one, with its numbers.")


def represent_auto_switch(row: AutoSwitch) -> dict[str, Any]:
    standing = {name: getattr(row, name) for name in ("moved_at", "decided_at", "decision")}
    return {"route": row.route.name} | autoswitch.represent(row) | standing


def represent_decision(decision: Decision) -> dict[str, Any]:
    return decision.represent()

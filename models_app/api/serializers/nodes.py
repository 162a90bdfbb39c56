"""Nodes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.states import InstanceState


class GpuOutput(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    name = serializers.CharField()
    memory_total_bytes = serializers.IntegerField()
    memory_free_bytes = serializers.IntegerField()


class NodeInstanceOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    state = serializers.ChoiceField(choices=[str(state) for state in InstanceState])
    memory_bytes = serializers.IntegerField(allow_null=True)


class NodeOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(
        choices=["up", "lost", "stopped"],
        help_text="`lost`: no heartbeat of its worker arrives; `stopped`: its worker was shut down.",
    )
    draining = serializers.BooleanField(help_text="No model is loaded there any more.")
    hostname = serializers.CharField(allow_blank=True)
    address = serializers.CharField(
        allow_null=True,
        help_text="Where other machines reach its runners; null where they cannot.",
    )
    version = serializers.CharField(allow_blank=True)
    started_at = serializers.DateTimeField(allow_null=True)
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    lost_at = serializers.DateTimeField(allow_null=True)
    memory_total_bytes = serializers.IntegerField(allow_null=True)
    memory_free_bytes = serializers.IntegerField(allow_null=True)
    memory_budget_bytes = serializers.IntegerField(allow_null=True)
    gpus = GpuOutput(many=True)
    models = serializers.ListField(child=serializers.CharField(), help_text="Keys of the models whose files it has.")
    instances = NodeInstanceOutput(many=True)


class NodeListOutput(serializers.Serializer[Any]):
    nodes = NodeOutput(many=True)

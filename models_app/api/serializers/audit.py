"""The audit log."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.services.coordination.audit import Channel


class AuditEntryOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(allow_blank=True, help_text="Empty for a caller without a usable key.")
    channel = serializers.ChoiceField(choices=[channel.value for channel in Channel])
    action = serializers.CharField(
        allow_blank=True, help_text="The operation's id in this document, or the console's action."
    )
    method = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    subject = serializers.CharField(allow_blank=True)
    arguments = serializers.DictField(help_text="The body, without secrets.")
    status = serializers.IntegerField()
    error_code = serializers.CharField(allow_blank=True)
    request_id = serializers.CharField(allow_blank=True)
    client = serializers.CharField(allow_blank=True)
    job_id = serializers.UUIDField(allow_null=True)


class AuditListOutput(serializers.Serializer[Any]):
    entries = AuditEntryOutput(many=True)
    next = serializers.URLField(allow_null=True)

"""The body of an error."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ErrorOutput(serializers.Serializer[Any]):
    """Every error of NOA has this shape."""

    error = serializers.DictField(help_text="message, type, code, param, retryable, request_id, and optionally details")

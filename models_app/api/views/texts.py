"""Text rules, by which prompts and answers are stored."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.texts import TextRuleInput, TextRuleListOutput, TextRuleOutput, represent_rule
from models_app.api.views.base import ManagementViewSet
from models_app.models import TextRule
from models_app.services.access_log import texts


class TextRuleViewSet(ManagementViewSet):
    lookup_url_kwarg = "rule_id"
    lookup_value_converter = "int"

    @extend_schema(
        operation_id="list_text_rules",
        summary="List rules for storing texts",
        tags=["texts"],
        responses={200: TextRuleListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """The API keys and routes whose prompts and answers are stored. Without a rule, none are."""
        return Response({"rules": [represent_rule(row) for row in TextRule.objects.all()]})

    @extend_schema(
        operation_id="set_text_rule",
        summary="Set a rule for storing texts",
        tags=["texts"],
        request=TextRuleInput,
        responses={200: TextRuleOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Store prompts and answers of one API key or one route, or change its rule."""
        rule = {"key_id": None, "route": None} | self.validated(TextRuleInput)
        return Response(represent_rule(texts.set_rule(**rule, actor=actor_of(request))))

    @extend_schema(
        operation_id="delete_text_rule",
        summary="Delete a rule for storing texts",
        tags=["texts"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, rule_id: int) -> Response:
        """Delete a rule. Stored prompts and answers stay until they expire."""
        texts.delete_rule(rule_id=rule_id)
        return Response(status=204)

"""Prompts and answers, where somebody wants them to be kept."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.texts import (
    TextRuleInput,
    TextRuleListOutput,
    TextRuleOutput,
    TextsOutput,
    represent_rule,
    represent_texts,
)
from models_app.api.views.base import ManagementView
from models_app.domain.scopes import Scope
from models_app.models import TextRule
from models_app.services.access_log import texts

_ADMIN = dict.fromkeys(("GET", "POST", "DELETE"), Scope.ADMIN)


class TextRuleList(ManagementView):
    scopes = _ADMIN

    @extend_schema(operation_id="list_text_rules", tags=["texts"], responses={200: TextRuleListOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """Whose prompts and answers are stored. Without a rule, nobody's."""
        query.refuse_unknown(request, ())
        return Response({"rules": [represent_rule(one) for one in TextRule.objects.all()]})

    @extend_schema(
        operation_id="set_text_rule",
        tags=["texts"],
        request=TextRuleInput,
        responses={200: TextRuleOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Store prompts and answers of one API key or one route from now on, or change how."""
        given = TextRuleInput(data=request.data)
        given.is_valid(raise_exception=True)
        wish = {"key_id": None, "route": None} | given.validated_data
        return Response(represent_rule(texts.set_rule(**wish, actor=actor_of(request))))


class TextRuleDetail(ManagementView):
    scopes = _ADMIN

    @extend_schema(operation_id="delete_text_rule", tags=["texts"], responses={204: None} | ERRORS)
    def delete(self, request: Request, rule_id: int) -> Response:
        """Store no more of them. Those that are stored stay until their day."""
        texts.delete_rule(rule_id=rule_id)
        return Response(status=204)


class AccessTexts(ManagementView):
    scopes = _ADMIN

    @extend_schema(operation_id="get_access_texts", tags=["texts"], responses={200: TextsOutput} | ERRORS)
    def get(self, request: Request, request_id: str) -> Response:
        """What one request asked and was answered, by NOA's id, if a rule had it stored."""
        query.refuse_unknown(request, ())
        return Response(represent_texts(texts.of_request(request_id=request_id)))

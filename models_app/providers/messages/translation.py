"""The translation between a client of Anthropic's Messages API and OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.providers.messages import answer as messages_answer
from models_app.providers.messages import request as messages_request
from models_app.providers.messages.stream import MessagesStream


class FromMessages:
    """Inbound: requests become OpenAI's, answers become Anthropic's. Holds no state."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        return messages_request.translated(body, model_id=model_id)

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        return messages_answer.translated(body, model=model)

    def stream(self, *, model: str) -> MessagesStream:
        return MessagesStream(model=model)


class FromCount(FromMessages):
    """Inbound, for a request to count the tokens of a prompt: it has no limit for an answer, and no stream."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        return super().request({**body, "max_tokens": 1, "stream": None}, model_id=model_id)

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        return {"input_tokens": body["input_tokens"]}, Usage()

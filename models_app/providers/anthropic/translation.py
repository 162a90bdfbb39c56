"""The translation between OpenAI's chat completions and a server of Anthropic's Messages API."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.providers.anthropic import answer as anthropic_answer
from models_app.providers.anthropic import request as anthropic_request
from models_app.providers.anthropic.stream import AnthropicStream


class ToAnthropic:
    """Outbound: requests become Anthropic's, answers become OpenAI's. Holds no state; streams always report usage."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        return anthropic_request.translated(body, model_id=model_id)

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        return anthropic_answer.translated(body, model=model, created=int(time.time()))

    def stream(self, *, model: str) -> AnthropicStream:
        return AnthropicStream(model=model, created=int(time.time()))

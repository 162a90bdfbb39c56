"""The translation between a client of OpenAI's Responses API and its chat completions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.providers.responses import answer as responses_answer
from models_app.providers.responses import request as responses_request
from models_app.providers.responses.stream import ResponsesStream


class FromResponses:
    """Inbound: requests become chat completions, answers become responses. Holds no state."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        return responses_request.translated(body, model_id=model_id)

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        return responses_answer.translated(body, model=model, created=int(time.time()))

    def stream(self, *, model: str) -> ResponsesStream:
        return ResponsesStream(model=model, created=int(time.time()))

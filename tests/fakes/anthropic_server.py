"""A faithful fake of Anthropic's API: models (in pages), messages, count_tokens.

It checks the key (`x-api-key`, or `Authorization: Bearer` as newer clients send it), `anthropic-version` and the body,
and answers deterministically (see `anthropic_answers.py`): an echo of the last user message, behind a signed thinking
block when thinking is on; a tool call when `tool_choice` forces one, or when the user's message has a tool's name;
JSON for `output_config.format`. A prompt with `cache_control` is written to the cache the first time and read from it
afterwards. `models` can be replaced.

See tests/fakes/provider_server.py for scripts. As a program, which prints its base URL:

    python -m tests.fakes.anthropic_server --port 9002 --key sk-ant-fake --script overloaded_529,ok
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import anthropic_answers, provider_server
from tests.fakes.anthropic_checks import check_messages
from tests.fakes.provider_faults import Refusal, Reply
from tests.fakes.provider_server import FakeProvider, Recorded

MODELS = ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")
# The API's default is 20; three models need a smaller page size for more than one page.
DEFAULT_LIMIT = 2
_VERSIONS = ("2023-06-01", "2026-10-21")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


def model(model_id: str, **more: Any) -> dict[str, Any]:
    """An entry of the list of models; `more` replaces fields."""
    yes, no = {"supported": True}, {"supported": False}
    effort = {"supported": False, "low": no, "medium": no, "high": no, "xhigh": None, "max": no}
    kinds = {"adaptive": no, "between_tools": no, "disabled": yes, "enabled": yes}
    capabilities = {
        "batch": yes,
        "citations": yes,
        "image_input": yes,
        "pdf_input": yes,
        "structured_outputs": yes,
        "effort": effort,
        "thinking": {"supported": True, "types": kinds},
    }
    entry = {
        "type": "model",
        "id": model_id,
        "display_name": model_id.replace("-", " ").title(),
        "created_at": "2025-09-29T00:00:00Z",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "lifecycle": "active",
        "capabilities": capabilities,
    }
    return entry | more


class FakeAnthropic(FakeProvider):
    """`base_url` has no path, as ANTHROPIC_BASE_URL has none."""

    default_key = "sk-ant-fake"

    def reset(self) -> None:
        super().reset()
        self.models: list[dict[str, Any]] = [model(name) for name in MODELS]
        # Prompt prefixes that earlier requests marked with `cache_control`.
        self.cached: set[str] = set()

    def error(self, refusal: Refusal) -> dict[str, Any]:
        kind = _ERROR_TYPES.get(refusal.status, refusal.type)
        error = {"type": kind, "message": refusal.message}
        return {"type": "error", "error": error, "request_id": "req_fake"}

    def error_event(self, refusal: Refusal) -> bytes:
        return b"event: error\ndata: " + json.dumps(self.error(refusal)).encode() + b"\n\n"

    def refuse(self, request: Recorded) -> Refusal | None:
        headers, path = request.headers, request.path
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            return Refusal(401, "authentication_error", "invalid x-api-key")
        if headers.get("anthropic-version") not in _VERSIONS:
            message = "anthropic-version: header is required"
            return Refusal(400, "invalid_request_error", message)
        if request.method == "GET":
            return self._refuse_model(path)
        if request.method != "POST" or path not in ("/v1/messages", "/v1/messages/count_tokens"):
            return Refusal(404, "not_found_error", "Not found")
        if not isinstance(request.body, dict):
            return Refusal(400, "invalid_request_error", "The request body is not valid JSON")
        counting = path.endswith("count_tokens")
        refusal = check_messages(request.body, counting=counting)
        return refusal or self._refuse_name(request.body.get("model"))

    def reply(self, request: Recorded) -> Reply:
        if request.path == "/v1/models":
            return Reply(self._page(request.query))
        if request.path.startswith("/v1/models/"):
            name = request.path.removeprefix("/v1/models/")
            return Reply(next((entry for entry in self.models if entry["id"] == name), {}))
        body = request.body if isinstance(request.body, dict) else {}
        if request.path.endswith("count_tokens"):
            return Reply({"input_tokens": anthropic_answers.prompt_tokens(body)})
        return anthropic_answers.message(body, self.cached)

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        ids = [entry["id"] for entry in self.models]
        start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
        limit = int(query.get("limit", DEFAULT_LIMIT))
        page = self.models[start : start + limit]
        return {
            "data": page,
            "has_more": start + limit < len(ids),
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }

    def _refuse_model(self, path: str) -> Refusal | None:
        if path == "/v1/models":
            return None
        return self._refuse_name(path.removeprefix("/v1/models/"))

    def _refuse_name(self, name: object) -> Refusal | None:
        if any(entry["id"] == name for entry in self.models):
            return None
        return Refusal(404, "not_found_error", f"model: {name}")


if __name__ == "__main__":
    provider_server.main(FakeAnthropic, __doc__)

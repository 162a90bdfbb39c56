"""A faithful fake of OpenAI's API: models, chat completions, completions, embeddings.

It checks the key and the body, and answers deterministically (see `openai_answers.py`): an echo of the last user
message; a tool call when `tool_choice` forces one, or when the user's message has a tool's name; JSON that conforms
to the schema of `response_format`. `models` can be replaced; `o4-mini` reports reasoning tokens.

See tests/fakes/provider_server.py for scripts. As a program, which prints its base URL:

    python -m tests.fakes.openai_server --port 9001 --key sk-fake --script status_500,ok
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import openai_answers, provider_server
from tests.fakes.openai_checks import check_chat, check_completion, check_embeddings
from tests.fakes.provider_faults import Refusal, Reply
from tests.fakes.provider_server import FakeProvider, Recorded

CREATED = 1_715_367_049
MODELS = ("gpt-4o", "gpt-4o-mini", "o4-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")

_POSTS = {
    "/v1/chat/completions": (check_chat, openai_answers.chat),
    "/v1/completions": (check_completion, openai_answers.completion),
    "/v1/embeddings": (check_embeddings, openai_answers.embeddings),
}


def model(model_id: str, **more: Any) -> dict[str, Any]:
    """An entry of the list of models; `more` are fields of other servers, such as vLLM's `max_model_len`."""
    entry = {"id": model_id, "object": "model", "created": CREATED, "owned_by": "system"}
    return entry | more


class FakeOpenAI(FakeProvider):
    """`base_url` ends in `/v1`, as OPENAI_BASE_URL does. With an empty `key`, none is required."""

    default_key = "sk-fake-openai"
    base_path = "/v1"

    def reset(self) -> None:
        super().reset()
        self.models: list[dict[str, Any]] = [model(name) for name in MODELS]

    def error(self, refusal: Refusal) -> dict[str, Any]:
        return {
            "error": {
                "message": refusal.message,
                "type": refusal.type,
                "param": refusal.param,
                "code": refusal.code,
            }
        }

    def error_event(self, refusal: Refusal) -> bytes:
        return b"data: " + json.dumps(self.error(refusal)).encode() + b"\n\n"

    def refuse(self, request: Recorded) -> Refusal | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            message = "Incorrect API key provided. You can find your API key in your account."
            return Refusal(401, "invalid_request_error", message, "invalid_api_key")
        if request.method == "GET":
            return self._refuse_model(request.path)
        if request.method != "POST" or request.path not in _POSTS:
            message = f"Invalid URL ({request.method} {request.path})"
            return Refusal(404, "invalid_request_error", message)
        if not isinstance(request.body, dict):
            message = "We could not parse the JSON body of your request."
            return Refusal(400, "invalid_request_error", message)
        check, _ = _POSTS[request.path]
        return check(request.body) or self._refuse_name(request.body.get("model"))

    def reply(self, request: Recorded) -> Reply:
        if request.path == "/v1/models":
            return Reply({"object": "list", "data": self.models})
        if request.path.startswith("/v1/models/"):
            return Reply(self._model(request.path))
        _, answer = _POSTS.get(request.path, _POSTS["/v1/chat/completions"])
        return answer(request.body if isinstance(request.body, dict) else {})

    def _model(self, path: str) -> dict[str, Any]:
        name = path.removeprefix("/v1/models/")
        return next((entry for entry in self.models if entry["id"] == name), {})

    def _refuse_model(self, path: str) -> Refusal | None:
        if path == "/v1/models":
            return None
        return self._refuse_name(path.removeprefix("/v1/models/"))

    def _refuse_name(self, name: object) -> Refusal | None:
        if any(entry["id"] == name for entry in self.models):
            return None
        message = f"The model `{name}` does not exist or you do not have access to it."
        return Refusal(404, "invalid_request_error", message, "model_not_found", "model")


if __name__ == "__main__":
    provider_server.main(FakeOpenAI, __doc__)

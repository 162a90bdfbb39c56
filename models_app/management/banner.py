"""The text that `serve` prints when it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from models_app.management.first_start import OPERATOR, Secrets


@dataclass(frozen=True, slots=True)
class State:
    """The model behind the route `current`, or the reason why no model answers yet."""

    model: str | None
    problem: str | None


def text(*, host: str, port: int, made: Secrets, state: State) -> str:
    """The whole text; secrets appear only on the start that created them."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    base = f"http://{reachable}:{port}"
    key = made.api_key or "$NOA_API_KEY"
    lines = [
        "",
        "NOA is ready.",
        "",
        f"  Console   {base}/admin/",
        *_operator(made),
        *_api_key(made),
    ]
    lines += [
        f"  API docs  {base}/api/docs",
        "",
        *_model(state),
        "",
        "Try it:",
        "",
        _curl(base, key),
        "",
    ]
    lines += ["Stop with Ctrl-C.", ""]
    return "\n".join(lines)


def _operator(made: Secrets) -> list[str]:
    if made.password:
        return [
            f"            user {OPERATOR}, password {made.password}",
            "            (shown only now; change it in the console)",
        ]
    return [f"            user {OPERATOR} (a new password: {settings.NOA_SERVER_COMMAND} changepassword {OPERATOR})"]


def _api_key(made: Secrets) -> list[str]:
    if made.api_key:
        return [f"  API key   {made.api_key}", "            (shown only now)"]
    return [
        f"  API key   the one that you stored as NOA_API_KEY (a new one: {settings.NOA_SERVER_COMMAND} api_key NAME)"
    ]


def _model(state: State) -> list[str]:
    if state.problem:
        return [f"  No model answers yet: {state.problem}"]
    if state.model is None:
        return ["  No model is loaded. Put GGUF files into the model folder, then discover and load one."]
    return [f"  'current' leads to {state.model}"]


def _curl(base: str, key: str) -> str:
    body = '{"model": "current", "messages": [{"role": "user", "content": "Hello, who are you?"}]}'
    return (
        f"  curl {base}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f'    -H "Authorization: Bearer {key}" \\\n'
        f"    -d '{body}'"
    )

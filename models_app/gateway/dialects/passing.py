"""The headers of a client that reach a provider of the same dialect: the betas and the version of its API."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models_app.domain.provider_kinds import ProviderKind
from models_app.gateway.dialects.dialects import OUTBOUND, Dialect

# Betas that change requests and answers. Left out are those that reach what an account stores (files, skills, agents),
# or that change its price or its model. docs/clients.md has the list too.
BETAS = (
    "advanced-tool-use",
    "cache-diagnosis",
    "claude-code",
    "code-execution",
    "compact",
    "computer-use",
    "context-1m",
    "context-management",
    "dev-full-thinking",
    "effort",
    "extended-cache-ttl",
    "fine-grained-tool-streaming",
    "inline-tools",
    "interleaved-thinking",
    "mid-conversation-output-config",
    "mid-conversation-system",
    "mid-conversation-system-clear-at",
    "mid-conversation-tool-changes",
    "model-context-window-exceeded",
    "output-128k",
    "output-300k",
    "pdfs",
    "prompt-caching",
    "prompt-caching-scope",
    "redact-thinking",
    "search-results",
    "structured-outputs",
    "task-budgets",
    "thinking-binding-controls",
    "thinking-display-updates",
    "thinking-token-count",
    "token-counting",
    "token-efficient-tools",
    "tool-examples",
    "tool-search-tool",
    "web-fetch",
    "web-search",
)
_DATE = r"20[0-9]{2}-?[0-9]{2}-?[0-9]{2}"
_ALLOWED_MESSAGES = {
    b"anthropic-beta": re.compile(rf"(?:{'|'.join(BETAS)})-{_DATE}"),
    b"anthropic-version": re.compile(_DATE),
}
_ALLOWED_OPENAI = {b"openai-beta": re.compile(r"(?:assistants|realtime|responses)=(?:v[0-9]|experimental)")}


def passed(dialect: Dialect | None, headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """The allowed values of those headers that the client's dialect has; None is OpenAI's chat completions."""
    allowed = _ALLOWED_MESSAGES if dialect is not None and dialect.native else _ALLOWED_OPENAI
    found: dict[str, str] = {}
    for name, form in allowed.items():
        given = (value.strip() for value in headers.get(name, b"").decode("latin-1").split(","))
        if values := list(dict.fromkeys(value for value in given if form.fullmatch(value))):
            # A version is one value.
            found[name.decode()] = values[0] if name == b"anthropic-version" else ",".join(values)
    return found


def takes(kind: ProviderKind, dialect: Dialect | None) -> bool:
    """Whether the providers of this kind and the client's dialect are of the same company."""
    if dialect is not None and dialect.native:
        return kind in dialect.native
    return kind not in OUTBOUND

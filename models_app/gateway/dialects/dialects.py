"""The dialects of clients and providers besides OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from models_app.domain.provider_kinds import KINDS, ProviderKind
from models_app.gateway.http import errors
from models_app.gateway.http.types import ErrorShape
from models_app.providers.messages.translation import FromCount, FromMessages
from models_app.providers.responses.translation import FromResponses
from models_app.providers.wire import resolving, sse
from models_app.providers.wire.translation import Translation

# Translations between OpenAI's dialect and a provider's.
OUTBOUND: Mapping[ProviderKind, Translation] = {
    kind: found for kind in KINDS if (found := resolving.translation(kind)) is not None
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The clients' dialect at one endpoint: its translation to OpenAI's, and the shape of its errors.

    native       the kinds of providers with the same dialect, which receive it untranslated
    runner_path  of the operation at a runner
    is_count     it counts tokens, which only runners and `native` can do
    ping         an event of its streams without content
    """

    translation: Translation
    error_body: ErrorShape
    native: frozenset[ProviderKind] = frozenset()
    # These dialects have limits for the answer alone: one that is larger than the rest of the context ends there.
    runner_path: str = "/v1/chat/completions?clip=1"
    is_count: bool = False
    ping: bytes = sse.PING


_SPEAK_MESSAGES = frozenset(kind for kind, row in KINDS.items() if row.speaks == "messages")
MESSAGES = Dialect(FromMessages(), errors.anthropic_body, _SPEAK_MESSAGES, ping=sse.named({"type": "ping"}))
COUNT_TOKENS = replace(MESSAGES, translation=FromCount(), runner_path="/v1/chat/tokens", is_count=True)
RESPONSES = Dialect(FromResponses(), errors.body)

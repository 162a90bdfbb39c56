"""Sends a request in OpenAI's dialect to the server of a model: a runner, or a provider with another dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from models_app.domain import addresses
from models_app.domain.errors import UnsupportedParameter
from models_app.domain.provider_kinds import KINDS
from models_app.domain.traffic.routing import Target
from models_app.providers.wire import credentials, resolving
from models_app.providers.wire.translation import StreamTranslation, Translation

CHAT = "chat/completions"


class Wire(Protocol):
    """`path` is `chat/completions`, `completions` or `embeddings`."""

    base_url: str
    headers: Mapping[str, str]

    def request(self, path: str, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The URL and the body to send there. Raises NoaError for an operation that this server does not support."""

    def whole(self, answer: dict[str, Any]) -> Mapping[str, Any]:
        """A whole answer, in OpenAI's format."""

    def stream(self) -> StreamTranslation | None:
        """The translation of a stream into OpenAI's dialect; None when it needs none."""


@dataclass(slots=True)
class OpenAIWire:
    base_url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def request(self, path: str, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        return f"{self.base_url}/{path}", {"model": self.model, **body}

    def whole(self, answer: dict[str, Any]) -> Mapping[str, Any]:
        return answer

    def stream(self) -> StreamTranslation | None:
        return None


@dataclass(slots=True)
class TranslatedWire:
    """A server with another dialect. Raises UnsupportedParameter for everything but chats."""

    base_url: str
    model: str
    headers: Mapping[str, str] = field(repr=False)
    chat_path: str
    translation: Translation

    def request(self, path: str, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if path != CHAT:
            raise UnsupportedParameter("A model of this provider only accepts chat completions.")
        named = {"model": self.model, **body}
        return f"{self.base_url}{self.chat_path}", self.translation.request(named, model_id=self.model)

    def whole(self, answer: dict[str, Any]) -> Mapping[str, Any]:
        return self.translation.answer(answer, model=self.model)[0]

    def stream(self) -> StreamTranslation | None:
        return self.translation.stream(model=self.model)


def wire_of(target: Target) -> Wire:
    """Raises InvalidRequest for an address that NOA does not connect to."""
    remote = target.remote
    if remote is None:
        return OpenAIWire("http://runner/v1", target.key)
    addresses.checked_url(remote.base_url, allow_private=remote.allow_private)
    headers = credentials.headers(remote)
    translation = resolving.translation(remote.kind)
    if translation is None:
        return OpenAIWire(remote.base_url, remote.model_id, headers)
    chat_path = KINDS[remote.kind].chat_path
    return TranslatedWire(remote.base_url, remote.model_id, headers, chat_path, translation)

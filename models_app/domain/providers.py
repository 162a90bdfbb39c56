"""The kinds of providers."""

from __future__ import annotations

from enum import StrEnum


class ProviderKind(StrEnum):
    """`llama.cpp`: GGUF files that NOA loads itself; the others answer over the network."""

    LLAMA_CPP = "llama.cpp"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"

"""What a model can do, and how that follows from the header of its file."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    TEXT_GENERATION = "text_generation"
    CHAT_COMPLETION = "chat_completion"
    EMBEDDINGS = "embeddings"
    FUNCTION_CALLING = "function_calling"
    VISION = "vision"
    STREAMING = "streaming"
    JSON_MODE = "json_mode"
    REASONING = "reasoning"
    RERANK = "rerank"
    FILL_IN_MIDDLE = "fill_in_middle"


class EvidenceSource(StrEnum):
    """`declared` by the provider, read from `metadata` of the file, or `probed` by a real request."""

    DECLARED = "declared"
    METADATA = "metadata"
    PROBED = "probed"


class Verdict(StrEnum):
    """`inconclusive`: the probe could not tell, for example because the model was not reachable."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    INCONCLUSIVE = "inconclusive"


# llama.cpp's pooling types: 0 is none, 4 is rank (a reranker); the others pool token vectors into one.
_POOLING_RANK = 4


def infer_from_gguf(
    *,
    architecture: str,
    pooling_type: int | None,
    causal: bool,
    chat_template: str | None,
    has_fill_in_middle: bool,
) -> list[Capability]:
    """The capabilities that a GGUF header shows, in the order of the enumeration.

    A pooled, non-causal model embeds and does not generate. Every causal model of llama.cpp can be
    asked for embeddings too, but only one whose header names a pooling was made for it.
    """
    found: set[Capability] = set()
    if pooling_type == _POOLING_RANK:
        return [Capability.RERANK]
    if pooling_type:
        found.add(Capability.EMBEDDINGS)
    if causal and architecture not in {"clip", "mmproj"}:
        found |= {Capability.TEXT_GENERATION, Capability.STREAMING, Capability.JSON_MODE}
        if chat_template:
            found.add(Capability.CHAT_COMPLETION)
            if "tools" in chat_template:
                found.add(Capability.FUNCTION_CALLING)
            if "<think>" in chat_template:
                found.add(Capability.REASONING)
        if has_fill_in_middle:
            found.add(Capability.FILL_IN_MIDDLE)
    return [capability for capability in Capability if capability in found]

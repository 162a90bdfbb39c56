"""The capabilities of models, and how they follow from a file's header and other evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """`inconclusive`: the probe had no result, for example because the model was not reachable."""

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

    A pooled, non-causal model embeds and does not generate. llama.cpp computes embeddings with every causal model too,
    but only one whose header names a pooling type was made for it.
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


# The evidence in a header for a capability: the sentence for its presence, and for its absence.
METADATA_SENTENCES: Mapping[Capability, tuple[str, str]] = {
    Capability.TEXT_GENERATION: (
        "The header is that of a causal model.",
        "The header is not that of a model that generates text.",
    ),
    Capability.CHAT_COMPLETION: (
        "The file has a chat template.",
        "The file has no chat template, or does not generate text.",
    ),
    Capability.EMBEDDINGS: (
        "The header names a pooling type.",
        "The header names no pooling type for embeddings.",
    ),
    Capability.FUNCTION_CALLING: (
        "The chat template renders tools.",
        "No chat template of the file renders tools.",
    ),
    Capability.STREAMING: (
        "A causal model generates token by token.",
        "The model does not generate text.",
    ),
    Capability.JSON_MODE: (
        "Answers of a causal model can be bound to a grammar.",
        "The model does not generate text.",
    ),
    Capability.REASONING: (
        "The chat template has a place for reasoning.",
        "No chat template of the file has a place for reasoning.",
    ),
    Capability.RERANK: (
        "The header names the pooling type of rerankers.",
        "The header does not name the pooling type of rerankers.",
    ),
    Capability.FILL_IN_MIDDLE: (
        "The vocabulary has tokens to fill in the middle.",
        "The vocabulary has no tokens to fill in the middle.",
    ),
}


@dataclass(frozen=True, slots=True)
class Word:
    """The verdict of one source for one capability. `fresh` is False for another version of the model."""

    source: str
    verdict: str
    fresh: bool = True


def is_proven(words: Iterable[Word]) -> bool:
    """Whether a probe of the present version has succeeded."""
    return _probed(words) == Verdict.SUPPORTED


def is_tested(words: Iterable[Word]) -> bool:
    """Whether a probe of the present version was conclusive."""
    return _probed(words) is not None


def is_supported(words: Sequence[Word], *, registered: bool) -> bool:
    """The result of a conclusive probe of the present version; without one, the registry's value (`registered`)."""
    probed = _probed(words)
    return registered if probed is None else probed == Verdict.SUPPORTED


def _probed(words: Iterable[Word]) -> str | None:
    """The verdict of a conclusive probe of the present version."""
    for word in words:
        if word.source == EvidenceSource.PROBED and word.fresh:
            return None if word.verdict == Verdict.INCONCLUSIVE else word.verdict
    return None


def believed(words: Iterable[Word]) -> str | None:
    """The verdict so far: of the last conclusive probe of any version, else of other sources; None without any.

    Where other sources disagree, `supported` wins: requests were accepted for it.
    """
    conclusive = [word for word in words if word.verdict != Verdict.INCONCLUSIVE]
    for word in conclusive:
        if word.source == EvidenceSource.PROBED:
            return word.verdict
    verdicts = {word.verdict for word in conclusive}
    if not verdicts:
        return None
    return Verdict.SUPPORTED if Verdict.SUPPORTED in verdicts else Verdict.UNSUPPORTED

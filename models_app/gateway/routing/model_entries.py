"""The entries of `GET /v1/models`, with the facts that clients read under the names of several servers.

OpenRouter, vLLM and llama.cpp name the same facts differently, and a client knows the names of one of them. What is
unknown is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.pricing import Price
from models_app.domain.traffic.listed import NO_FACTS
from models_app.domain.traffic.routing import ModelEntry, Snapshot

Entry = dict[str, Any]

_MILLION = Decimal(1_000_000)
_SAMPLING = ("max_tokens", "temperature", "top_p", "stop", "seed", "frequency_penalty", "presence_penalty")
# What NOA's own runners take beside.
_LOCAL = ("min_p", "top_k", "logit_bias", "logprobs", "top_logprobs", "repeat_penalty")
_FORMATS = ("response_format", "structured_outputs")
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_GENERATES = frozenset({Capability.CHAT_COMPLETION, Capability.TEXT_GENERATION})
# llama-swap's names beside ours.
_OTHER_NAMES = {Capability.RERANK: "reranker", Capability.REASONING: "thinking"}


def route_entry(name: str, snapshot: Snapshot) -> Entry:
    key = snapshot.routes[name]
    model = snapshot.models.get(key) if key else None
    return {
        "id": name,
        "object": "model",
        "created": model.created if model else 0,
        "owned_by": "noa",
        "name": name,
        **_facts(model),
        "noa": {"kind": "route", "target": key, "loaded": bool(model and model.target)},
    }


def model_entry(model: ModelEntry, snapshot: Snapshot) -> Entry:
    is_named_so = model.model_id not in snapshot.routes and snapshot.short_names.get(model.model_id) == model.key
    return {
        "id": model.key,
        "object": "model",
        "created": model.created,
        "owned_by": model.provider,
        "name": model.facts.name or model.key,
        **_facts(model),
        "noa": {
            "kind": "model",
            "model_id": model.model_id,
            # The other name that a request can use; null if it leads to another model or to a route.
            "short_name": model.model_id if is_named_so else None,
            "loaded": model.target is not None,
        },
    }


def _facts(model: ModelEntry | None) -> Entry:
    if model is None:
        return {"status": {"value": "unloaded"}}
    facts, context = model.facts, context_of(model)
    able = model.target.capabilities if model.target else model.capabilities
    found: Entry = {
        "description": facts.description or None,
        "context_length": context,
        "context_window": context,
        "max_model_len": context,
        "meta": _known({"n_ctx": context, "n_ctx_train": facts.trained_context}),
        "architecture": _architecture(able),
        "capabilities": {name: True for word in sorted(able) for name in _names_of(word)},
        "supported_parameters": _parameters(able, is_local=facts.is_local),
        "pricing": _pricing(facts.price),
        "top_provider": _known({"context_length": context, "max_completion_tokens": facts.max_output}),
    }
    return _known(found) | {"status": _status(model)}


def context_of(model: ModelEntry) -> int | None:
    """Tokens that one request can use: of the smallest copy that is loaded, else of the next load."""
    copies = [] if model.target is None else [model.target, *model.others]
    running = [copy.context_tokens for copy in copies if copy.context_tokens]
    return min(running, default=model.facts.context)


def _known(found: Entry) -> Entry:
    """Without what is unknown or empty."""
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def _names_of(word: str) -> Iterable[str]:
    other = _OTHER_NAMES.get(Capability(word))
    return (word, other) if other else (word,)


def _architecture(able: frozenset[str]) -> Entry | None:
    """Modalities, in OpenRouter's words. None while no capability is known."""
    if not able:
        return None
    inputs = ["text", "image"] if Capability.VISION in able else ["text"]
    outputs = ["text"] if able & _GENERATES else []
    outputs += ["embeddings"] if Capability.EMBEDDINGS in able else []
    outputs += ["rerank"] if Capability.RERANK in able else []
    modality = f"{'+'.join(inputs)}->{'+'.join(outputs)}"
    return {"modality": modality, "input_modalities": inputs, "output_modalities": outputs}


def _parameters(able: frozenset[str], *, is_local: bool) -> list[str]:
    """The parameters that the model takes; none while its capabilities are unknown: its provider decides."""
    if not able & _GENERATES:
        return ["dimensions", "encoding_format"] if Capability.EMBEDDINGS in able else []
    found = [*_SAMPLING]
    found += _LOCAL if is_local else ()
    found += _FORMATS if Capability.JSON_MODE in able else ()
    found += _TOOLS if Capability.FUNCTION_CALLING in able else ()
    found += ("reasoning", "include_reasoning") if Capability.REASONING in able and not is_local else ()
    return sorted(found)


def _pricing(price: Price | None) -> dict[str, str] | None:
    """US dollars per token, as text. None is unknown, which is not 0."""
    if price is None:
        return None
    rates = {
        "prompt": price.input,
        "completion": price.output,
        "input_cache_read": price.cached_input,
        "input_cache_write": price.cache_write,
    }
    return {name: _per_token(rate) for name, rate in rates.items() if rate is not None}


def _per_token(rate: Decimal) -> str:
    text = f"{rate / _MILLION:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _status(model: ModelEntry) -> Entry:
    """As llama-server's router has it: `value`, and `failed` beside it after a load that failed."""
    if model.target is not None:
        return {"value": "loaded"}
    if model.facts.status == "failed":
        return {"value": "unloaded", "failed": True}
    # A loaded model without a target cannot be reached: its provider is disabled.
    return {"value": "loading" if model.facts.status == "loading" else "unloaded"}


def as_anthropic(entry: Entry, model: ModelEntry | None) -> Entry:
    """The entry in the form of Anthropic's API. `model` is the one that it leads to."""
    facts = model.facts if model else NO_FACTS
    found = {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["name"],
        "created_at": datetime.fromtimestamp(entry["created"], UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "deprecated" if facts.is_deprecated else "active",
        "max_input_tokens": entry.get("context_length"),
        "max_tokens": facts.max_output,
        "noa": entry["noa"],
    }
    return {name: value for name, value in found.items() if value is not None}

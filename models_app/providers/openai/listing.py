"""Servers with OpenAI's API. Many describe models in more detail than OpenAI, each in different fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from models_app.domain.catalog.capabilities import Capability
from models_app.providers.wire import failures, offers
from models_app.providers.wire.client import Client, Reply
from models_app.providers.wire.offers import Listing, Offer

# A server can have to read the model from its disk first.
FIRST_TOKEN_SECONDS = 180.0
_MAX_PAGES = 100

_MISTRAL_CAPABILITIES = {
    "completion_chat": Capability.CHAT_COMPLETION,
    "completion_fim": Capability.FILL_IN_MIDDLE,
    "function_calling": Capability.FUNCTION_CALLING,
    "vision": Capability.VISION,
}
_OPENROUTER_PARAMETERS = {
    "tools": Capability.FUNCTION_CALLING,
    "response_format": Capability.JSON_MODE,
    "structured_outputs": Capability.JSON_MODE,
    "reasoning": Capability.REASONING,
}


async def list_models(client: Client) -> Listing:
    return await listing(client, "/models", after="after", read=offer)


async def listing(
    client: Client,
    path: str,
    *,
    after: str,
    read: Callable[[Mapping[str, Any]], Offer],
    query: Mapping[str, str] | None = None,
) -> Listing:
    """All pages of a list of models; `after` is the parameter for the last model of the previous page."""
    found = Listing()
    query = dict(query or {})
    for _ in range(_MAX_PAGES):
        page = await client.get(path, query)
        entries = _entries(client, page)
        for entry in entries:
            _add(entry, found, read)
        if len(found.offers) > offers.MAX_MODELS:
            break
        last = _last_id(page, entries)
        if last is None or last == query.get(after):
            return found
        query[after] = last
    raise failures.malformed(client.endpoint, "its list of models does not end")


def _entries(client: Client, page: Any) -> list[Any]:
    # Together answers with the bare list, and Ollama and llama-server have one in `models`.
    found = page
    if isinstance(page, dict):
        lists = [page[name] for name in ("data", "models") if name in page]
        found = next((one for one in lists if isinstance(one, list)), lists[0] if lists else page)
        # How a server written in Go says that it has none.
        found = [] if found is None else found
    if not isinstance(found, list):
        raise failures.malformed(client.endpoint, "it holds no list of models")
    return found


def _last_id(page: Any, entries: list[Any]) -> str | None:
    """The id after which the next page begins; None on the last page."""
    if not isinstance(page, dict) or page.get("has_more") is not True or not entries:
        return None
    last = page.get("last_id") or _id_of(entries[-1])
    return last if isinstance(last, str) and last else None


def _id_of(entry: Any) -> str:
    """The name of a model; '' if the entry has none. Ollama's own list names it `model`; some lists hold only names."""
    if isinstance(entry, str):
        return entry
    for field in ("id", "model", "name") if isinstance(entry, dict) else ():
        if isinstance(entry.get(field), str) and entry[field]:
            return str(entry[field])
    return ""


def _add(entry: Any, found: Listing, read: Callable[[Mapping[str, Any]], Offer]) -> None:
    name = _id_of(entry)
    fields = entry if isinstance(entry, dict) else {}
    if not name:
        found.refused.append({"model": repr(fields.get("id"))[:80], "reason": "The entry has no 'id'."})
    elif fields.get("lifecycle") != "retired":  # Anthropic still lists it, but it cannot be used
        found.offers.append(read({**fields, "id": name}))


def offer(entry: Mapping[str, Any]) -> Offer:
    """One entry of the list, in the fields of any of these servers."""
    best = offers.mapping(entry, "top_provider")
    return Offer(
        remote_id=str(entry["id"]),
        name=offers.text(entry, "name") or offers.text(entry, "display_name"),
        description=offers.description(entry),
        context_window=offers.tokens(
            entry,
            "context_length",
            "context_window",
            "max_context_length",
            "max_model_len",
            "max_input_tokens",
        )
        or offers.tokens(best, "context_length"),
        max_output_tokens=offers.tokens(entry, "max_output_tokens", "max_completion_tokens", "max_output_length")
        or offers.tokens(best, "max_completion_tokens"),
        capabilities=_capabilities(entry),
        price=offers.price_per_token(offers.mapping(entry, "pricing")),
    )


def _capabilities(entry: Mapping[str, Any]) -> frozenset[Capability] | None:
    architecture = offers.mapping(entry, "architecture")
    written = offers.words(architecture, "output_modalities")
    if written is not None:
        return _of_openrouter(entry, offers.words(architecture, "input_modalities"), written)
    declared = offers.mapping(entry, "capabilities")
    if "completion_chat" in declared:
        return frozenset(_writes_text(offers.supported(declared, _MISTRAL_CAPABILITIES)))
    return None


def _of_openrouter(
    entry: Mapping[str, Any], taken: frozenset[str] | None, written: frozenset[str]
) -> frozenset[Capability]:
    found: set[Capability] = set()
    if "embeddings" in written:
        found.add(Capability.EMBEDDINGS)
    if "text" in written:
        parameters = offers.words(entry, "supported_parameters") or frozenset()
        found = _writes_text({Capability.CHAT_COMPLETION})
        found |= {what for word, what in _OPENROUTER_PARAMETERS.items() if word in parameters}
        if "image" in (taken or ()):
            found.add(Capability.VISION)
    return frozenset(found)


def _writes_text(found: set[Capability]) -> set[Capability]:
    """Chat is text generation, and every chat API of this dialect streams."""
    if Capability.CHAT_COMPLETION in found:
        found |= {Capability.TEXT_GENERATION, Capability.STREAMING}
    return found


async def check_model(client: Client) -> None:
    """Checks the key and the model with one cheap request: the model's entry, or a single token."""
    name = quote(client.endpoint.model_id, safe="/:@")
    reply = await client.request("GET", f"/models/{name}")
    if reply.status == 200 and _is_ready(reply):
        return
    if reply.status not in (200, 404, 405) or _names_the_model(reply):
        raise client.refused(reply)
    await generate_one_token(client)


def _is_ready(reply: Reply) -> bool:
    """False for an unloaded model of another NOA: only a request shows whether that NOA loads it."""
    entry = reply.value if isinstance(reply.value, dict) else {}
    return offers.mapping(entry, "noa").get("loaded") is not False


def _names_the_model(reply: Reply) -> bool:
    """Whether a 404 is about the model: many servers lack this operation, and answer 404 for its path."""
    return b'"model_not_found"' in reply.body


async def generate_one_token(client: Client) -> None:
    """Requests one token, or one vector if the model does not chat."""
    model = client.endpoint.model_id
    seconds = client.endpoint.first_byte_seconds or FIRST_TOKEN_SECONDS
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
    }
    reply = await client.request("POST", "/chat/completions", body=body, seconds=seconds)
    if reply.status in (400, 404, 405, 422, 501):
        embedded = await client.request(
            "POST",
            "/embeddings",
            body={"model": model, "input": "Hi"},
            seconds=seconds,
        )
        # The error of the chat explains more, unless embeddings work.
        reply = embedded if embedded.status == 200 else reply
    if reply.status != 200:
        raise client.refused(reply)

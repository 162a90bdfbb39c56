"""Anthropic's API: its list of models has the capabilities of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from models_app.domain.catalog.capabilities import Capability
from models_app.providers.openai import listing as openai
from models_app.providers.wire import offers
from models_app.providers.wire.client import Client
from models_app.providers.wire.offers import Listing, Offer

# The largest page that the API allows.
_PAGE = {"limit": "1000"}

_CAPABILITIES = {
    "image_input": Capability.VISION,
    "structured_outputs": Capability.JSON_MODE,
    "thinking": Capability.REASONING,
}


async def list_models(client: Client) -> Listing:
    return await openai.listing(client, "/v1/models", after="after_id", query=_PAGE, read=offer)


def offer(entry: Mapping[str, Any]) -> Offer:
    return replace(
        openai.offer(entry),
        max_output_tokens=offers.tokens(entry, "max_tokens"),
        capabilities=_capabilities(entry),
        deprecation=_deprecation(entry),
    )


def _capabilities(entry: Mapping[str, Any]) -> frozenset[Capability]:
    """Every model of this API chats, streams and calls tools: all of them serve its Messages API."""
    return frozenset(
        {
            Capability.TEXT_GENERATION,
            Capability.CHAT_COMPLETION,
            Capability.STREAMING,
            Capability.FUNCTION_CALLING,
        }
        | offers.supported(offers.mapping(entry, "capabilities"), _CAPABILITIES)
    )


def _deprecation(entry: Mapping[str, Any]) -> str | None:
    if entry.get("lifecycle") != "deprecated":
        return None
    end = offers.text(entry, "retires_at", 10)
    return "Its provider will retire it" + (f" on {end}." if end else ".")


async def check_model(client: Client) -> None:
    await client.get(f"/v1/models/{quote(client.endpoint.model_id, safe='')}")

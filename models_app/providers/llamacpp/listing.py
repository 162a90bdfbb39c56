"""A remote llama-server: OpenAI's dialect, and `/props` with its start options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models_app.domain.catalog.capabilities import Capability
from models_app.providers.openai import listing as openai
from models_app.providers.wire import offers
from models_app.providers.wire.client import Client
from models_app.providers.wire.offers import Listing, Offer

# A model with image input is a chat model, and this server can bind every answer to a schema.
_WITH_PICTURES = frozenset(
    {
        Capability.TEXT_GENERATION,
        Capability.CHAT_COMPLETION,
        Capability.STREAMING,
        Capability.JSON_MODE,
        Capability.VISION,
    }
)


async def list_models(client: Client) -> Listing:
    """Lists the models, with the context window that the server was started with, not the model's trained one."""
    found = await openai.list_models(client)
    if len(found.offers) == 1:
        root = client.endpoint.base_url.removesuffix("/v1")
        reply = await client.request("GET", f"{root}/props")
        if isinstance(reply.value, dict):
            found.offers = [_described(found.offers[0], reply.value)]
    return found


def _described(offer: Offer, props: dict[str, Any]) -> Offer:
    settings = offers.mapping(props, "default_generation_settings")
    takes_pictures = offers.mapping(props, "modalities").get("vision") is True
    return replace(
        offer,
        context_window=offers.tokens(settings, "n_ctx") or offer.context_window,
        capabilities=_WITH_PICTURES if takes_pictures else offer.capabilities,
    )


async def check_model(client: Client) -> None:
    """Generates one token: this server has no cheaper operation that checks its model."""
    await openai.generate_one_token(client)

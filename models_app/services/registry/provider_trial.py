"""Tests a provider with its present settings."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from models_app.domain.errors import NoaError
from models_app.models import Provider
from models_app.providers import dialects
from models_app.services.catalog import lookup
from models_app.services.coordination import connections
from models_app.services.providers import contacts, providers


def try_out(*, slug: str) -> dict[str, Any]:
    """Requests a provider's list of models; returns whether that succeeded, a message, and the duration.

    Raises NotFound for a provider that is not configured; every other failure is in the result.
    """
    provider = lookup.provider(slug=slug)
    started = perf_counter()
    answer: dict[str, Any] = {"ok": True, "code": None, "models": None}
    try:
        answer |= _test(provider)
    except NoaError as error:
        answer |= {"ok": False, "code": error.code, "message": error.message}
    if providers.is_remote(provider):
        contacts.report_outcome(slug=slug, code=answer["code"], reason=answer["message"])
    return answer | {"seconds": round(perf_counter() - started, 3)}


def _test(provider: Provider) -> dict[str, Any]:
    if not providers.is_remote(provider):
        return {"message": "The files of this machine need no connection."}
    endpoint = providers.endpoint(provider)
    connections.release()
    found = asyncio.run(dialects.list_models(endpoint))
    count = len(found.offers)
    return {"models": count, "message": f"'{provider.slug}' answered with {count} models."}

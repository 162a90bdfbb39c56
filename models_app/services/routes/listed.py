"""What the list of models says of a model, as the registry has it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db.models import F
from django.db.models.functions import Left

from models_app.domain.catalog.options import DEFAULT_CONTEXT
from models_app.domain.catalog.pricing import Price
from models_app.domain.provider_kinds import FILE_KINDS
from models_app.domain.states import ModelStatus
from models_app.domain.traffic.listed import Facts

logger = logging.getLogger(__name__)

# Of a description: every web process holds the list in memory, and sends it whole.
_DESCRIPTION_CHARACTERS = 500

# Of a query of models, in the order of the parameters of `facts`.
COLUMNS = (
    F("key"),
    F("name"),
    Left("description", _DESCRIPTION_CHARACTERS),
    F("context_window"),
    F("max_output_tokens"),
    F("price"),
    F("load_options"),
    F("status"),
    F("deprecated"),
    F("provider__kind"),
    F("provider__base_url"),
)

_STATUS = {
    ModelStatus.LOADED: "loaded",
    ModelStatus.LOADING: "loading",
    ModelStatus.FAILED: "failed",
}


def facts(
    key: str,
    name: str,
    description: str,
    window: int | None,
    max_output: int | None,
    price: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    status: str,
    deprecated: bool,
    kind: str,
    base_url: str,
) -> Facts:
    is_local = kind in FILE_KINDS and not base_url
    return Facts(
        name=name,
        description=description,
        context=_next_context(window, options) if is_local else window,
        trained_context=window,
        max_output=max_output,
        price=price_of(key, price),
        status=_STATUS.get(ModelStatus(status), "unloaded"),
        is_deprecated=deprecated,
        is_local=is_local,
    )


def _next_context(window: int | None, options: Mapping[str, Any]) -> int | None:
    """The context of a local model's next load: that of its last one, or the default."""
    chosen = options.get("n_ctx")
    return int(chosen) if chosen else min(window or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def price_of(key: str, price: Mapping[str, Any] | None) -> Price | None:
    """The stored price; None, with a warning, if it is invalid: one wrong row must not stop all traffic."""
    if not price:
        return None
    try:
        return Price.from_dict(price)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        logger.warning("The stored price of '%s' is invalid; its requests are unpriced.", key)
        return None

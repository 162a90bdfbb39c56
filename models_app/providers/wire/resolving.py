"""Imports the code of a provider kind by the dotted names in its row of `models_app.domain.provider_kinds.KINDS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from models_app.domain.provider_kinds import KINDS, ProviderKind
from models_app.providers.wire.translation import Translation

if TYPE_CHECKING:
    from models_app.providers.wire.client import Client
    from models_app.providers.wire.offers import Listing

ListModels = Callable[["Client"], Awaitable["Listing"]]
CheckModel = Callable[["Client"], Awaitable[None]]


def list_models(kind: ProviderKind) -> ListModels:
    found: ListModels = resolve_name(KINDS[kind].list_models)
    return found


def check_model(kind: ProviderKind) -> CheckModel:
    found: CheckModel = resolve_name(KINDS[kind].check_model)
    return found


@cache
def translation(kind: ProviderKind) -> Translation | None:
    """The translation from and to OpenAI's chat completions; None for servers of that API. Stateless, so shared."""
    name = KINDS[kind].translation
    found: Translation | None = resolve_name(name)() if name else None
    return found

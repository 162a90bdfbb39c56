"""What the list of models says of a model beside its names."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.catalog.pricing import Price


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of the registry; None is unknown.

    context          tokens that one request can use after the next load
    trained_context  tokens that the model was made for
    max_output       tokens of the longest answer
    status           `loaded`, `loading` or `unloaded`; `failed` when its last load did
    is_local         whether NOA runs it, and so knows which parameters it takes
    """

    name: str = ""
    description: str = ""
    context: int | None = None
    trained_context: int | None = None
    max_output: int | None = None
    price: Price | None = None
    status: str = "unloaded"
    is_deprecated: bool = False
    is_local: bool = False


NO_FACTS = Facts()

"""What tokens cost. Prices are US dollars per million tokens; an unknown price is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; None is unknown.

    `prompt` holds `cached` and `cache_write`; `completion` holds `reasoning`, as in OpenAI's usage object.
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. Without a price of their own, cached tokens cost what prompt tokens cost.

    source  `operator`, `provider` or `genai-prices`: who says so
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    source: str = "operator"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Price:
        """From a stored price, whose numbers are numbers or decimal strings."""
        amounts = {
            name: None if data.get(name) is None else Decimal(str(data[name]))
            for name in ("cached_input", "cache_write")
        }
        return cls(
            input=Decimal(str(data["input"])),
            output=Decimal(str(data["output"])),
            source=str(data.get("source", "operator")),
            **amounts,
        )

    def as_dict(self) -> dict[str, Any]:
        """Amounts as decimal strings, so that nothing is lost on the way through JSON."""
        return {
            name: format(value, "f") if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
            if value is not None
        }


def cost(price: Price | None, usage: Usage) -> Decimal | None:
    """US dollars; None when the price or a count that it needs is unknown."""
    if price is None or usage.prompt is None:
        return None
    cached, written = usage.cached or 0, usage.cache_write or 0
    plain = max(0, usage.prompt - cached - written)
    cached_price = price.input if price.cached_input is None else price.cached_input
    write_price = price.input if price.cache_write is None else price.cache_write
    total = plain * price.input + cached * cached_price + written * write_price
    return (total + (usage.completion or 0) * price.output) / _MILLION

"""The options of a load of a local model: parsed once where they arrive as JSON, and carried as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models_app.domain.errors import InvalidRequest

# The default: enough for a long chat, small enough for a laptop.
DEFAULT_CONTEXT = 8192

BOUNDS: Mapping[str, tuple[int, int]] = {
    "n_ctx": (64, 4_194_304),
    "slots": (1, 256),
    "n_batch": (32, 16_384),
    "n_threads": (1, 1024),
    "n_gpu_layers": (-1, 10_000),
}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """None leaves the choice to NOA.

    n_ctx         tokens of the cache that all slots share; one request can use all of it
    slots         requests that are decoded at the same time; more wait in the runner's queue
    n_batch       tokens of one decode step
    n_threads     threads of llama.cpp
    n_gpu_layers  layers on the GPU; -1 is all
    """

    n_ctx: int | None = None
    slots: int | None = None
    n_batch: int | None = None
    n_threads: int | None = None
    n_gpu_layers: int | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> LoadOptions:
        """Parse JSON data; raises InvalidRequest that names the option and its bounds."""
        for name, value in data.items():
            if name not in BOUNDS:
                raise InvalidRequest(
                    f"'{str(name)[:80]}' is not a load option. Known options: {', '.join(BOUNDS)}.",
                    code="unknown_option",
                    param=f"options.{str(name)[:80]}",
                )
            low, high = BOUNDS[name]
            if value is None:
                continue
            if type(value) is not int or not low <= value <= high:
                raise InvalidRequest(
                    f"'{name}' must be a whole number from {low} to {high}.",
                    code="invalid_option",
                    param=f"options.{name}",
                )
        return cls(**data)

    @property
    def is_empty(self) -> bool:
        """Whether no option is set: a local model is then loaded with the options of its last load."""
        return self == LoadOptions()

    def as_dict(self) -> dict[str, int]:
        """Only the options that are set, in the form of JSON columns and answers."""
        return {name: value for name, value in asdict(self).items() if value is not None}

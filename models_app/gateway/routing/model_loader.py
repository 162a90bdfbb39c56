"""The contract between the gateway and a loader of models: the demand of requests, and the deaths of runners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models_app.domain.errors import NoaError
from models_app.domain.residency.demand import ModelDemand
from models_app.domain.residency.suspects import Death

# Called from any thread with a model's key and the error that ends every wait for it.
EndWait = Callable[[str, NoaError], None]


class ModelLoader(Protocol):
    """No method blocks."""

    def demand(self, demand: ModelDemand) -> None:
        """Replaces this process's demand for one model; `waiting` is 0 when the last request has left."""

    def died(self, death: Death) -> None:
        """A runner died with a request in it."""

    def join(self, death: Death) -> None:
        """A new request has the same content as one whose runner died: it waits for the same trial."""

    def may_retry(self, death: Death) -> bool:
        """Whether the request of `death` may be repeated now. The value can change until the next wake-up."""

    def retried(self, death: Death, *, survived: bool) -> None:
        """The repeat has ended; `survived` is False when its runner died, or when the request is not repeated."""

    def retry_after(self, key: str) -> int:
        """Seconds after which a client should retry a request whose wait for the model timed out."""


class NoModelLoader:
    """For a gateway without on-demand loading."""

    def demand(self, demand: ModelDemand) -> None:
        pass

    def died(self, death: Death) -> None:
        pass

    def join(self, death: Death) -> None:
        pass

    def may_retry(self, death: Death) -> bool:
        return True

    def retried(self, death: Death, *, survived: bool) -> None:
        pass

    def retry_after(self, key: str) -> int:
        return 1

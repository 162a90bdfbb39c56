"""A model loader whose results are set by the test."""

from __future__ import annotations

from models_app.domain.residency.demand import ModelDemand
from models_app.domain.residency.suspects import Death
from tests.gateway.wire import wait_until


class FakeModelLoader:
    """Loads nothing. It records its calls; the test sets the result of each load."""

    def __init__(self) -> None:
        self.demands: list[ModelDemand] = []
        self.deaths: list[Death] = []
        self.holds_all = False
        self.trials: list[tuple[Death, bool]] = []
        self.joined: list[Death] = []
        self.due = 7

    def demand(self, demand: ModelDemand) -> None:
        self.demands.append(demand)

    def died(self, death: Death) -> None:
        self.deaths.append(death)

    def join(self, death: Death) -> None:
        self.joined.append(death)

    def may_retry(self, death: Death) -> bool:
        return not self.holds_all

    def retried(self, death: Death, *, survived: bool) -> None:
        self.trials.append((death, survived))

    def retry_after(self, key: str) -> int:
        return self.due

    @property
    def waiting(self) -> int:
        return self.demands[-1].waiting if self.demands else 0

    def until_waiting(self, count: int) -> None:
        wait_until(lambda: self.waiting == count, f"{count} requests wait, {self.waiting} do")

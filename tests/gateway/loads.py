"""What loads models, as far as a gateway sees it: a test says what becomes of each load."""

from __future__ import annotations

from models_app.domain.residency.demand import Want
from models_app.domain.residency.suspects import Death
from tests.gateway.wire import wait_until


class Loads:
    """Loads nothing: the test says what becomes of each load."""

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.deaths: list[Death] = []
        self.holds_all = False
        self.trials: list[tuple[Death, bool]] = []
        self.joined: list[Death] = []
        self.due = 7

    def want(self, want: Want) -> None:
        self.wants.append(want)

    def died(self, death: Death) -> None:
        self.deaths.append(death)

    def join(self, death: Death) -> None:
        self.joined.append(death)

    def may_ask(self, death: Death) -> bool:
        return not self.holds_all

    def tried(self, death: Death, *, survived: bool) -> None:
        self.trials.append((death, survived))

    def retry_after(self, key: str) -> int:
        return self.due

    @property
    def waiting(self) -> int:
        return self.wants[-1].waiting if self.wants else 0

    def until_waiting(self, count: int) -> None:
        wait_until(lambda: self.waiting == count, f"{count} requests wait, {self.waiting} do")

"""Decides from measurements whether a route moves to another model. Pure: no clock, no database.

A model's score is a weighted mean of figures, each brought to 0 … 1 by a fixed curve, so that a model's score does not
depend on the other models. A rival is always compared with the present model on the same basis: both by traffic,
or both by profiles with the same workload; other measurements are not compared.

Three conditions prevent a route from oscillating: a rival must be better by a threshold, in several decisions in a row,
and after a move there is a cool-down without moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# Where the curves reach one half. A person waits half a second without noticing, and reads 20 tokens a second.
_HALF_TTFT_MS = 500.0
_HALF_LATENCY_MS = 5000.0
_HALF_TOKENS_PER_SECOND = 20.0

CURVES: Mapping[str, Callable[[float], float]] = {
    "success_rate": lambda rate: rate,
    "ttft_ms": lambda ms: _HALF_TTFT_MS / (_HALF_TTFT_MS + ms),
    "e2el_ms": lambda ms: _HALF_LATENCY_MS / (_HALF_LATENCY_MS + ms),
    "tokens_per_second": lambda speed: speed / (speed + _HALF_TOKENS_PER_SECOND),
}
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "success_rate": 0.5,
    "ttft_ms": 0.25,
    "tokens_per_second": 0.25,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The figures of one model on one basis; a figure that was not measured is missing or None."""

    requests: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Rival:
    """basis  `traffic` or `profiles`; `mine` and `present` were measured alike"""

    key: str
    basis: str
    mine: Evidence
    present: Evidence


@dataclass(frozen=True, slots=True)
class Policy:
    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    threshold: float = 0.15
    confirmations: int = 3
    cool_down_seconds: float = 1800.0
    min_requests: int = 30


@dataclass(frozen=True, slots=True)
class Standing:
    """State between decisions: the leader, its decisions in a row (`looks`), and when the route moved (seconds)."""

    leader: str = ""
    looks: int = 0
    moved_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is a word for programs, `why` a sentence for people, `scores` the compared models."""

    move: bool
    to: str
    reason: str
    why: str
    standing: Standing
    scores: list[dict[str, Any]]

    def represent(self) -> dict[str, Any]:
        return asdict(self)


def score(evidence: Evidence, weights: Mapping[str, float]) -> float | None:
    """0 to 1; None when a figure with a weight was not measured."""
    values = {name: evidence.figures.get(name) for name, weight in weights.items() if weight > 0}
    if not values or None in values.values():
        return None
    total = sum(weights[name] for name in values)
    parts = (weights[name] * CURVES[name](value or 0.0) for name, value in values.items())
    return sum(parts) / total


def decide(present: str, rivals: Sequence[Rival], *, policy: Policy, standing: Standing, now: float) -> Decision:
    """Move to the rival with the largest lead, or keep the route; `now` in the same seconds as `standing.moved_at`."""
    scores = [_scored(rival, policy) for rival in rivals]
    led = [scored for scored in scores if scored["lead"] is not None]
    best = max(led, key=lambda scored: (scored["lead"], scored["key"]), default=None)
    kept = Standing(moved_at=standing.moved_at)
    if best is None:
        reason = "not_enough_data" if rivals else "no_rival"
        return Decision(False, present, reason, _WHY[reason], kept, scores)
    if best["lead"] < policy.threshold:
        why = f"No rival leads by {policy.threshold:.0%}; {best['key']} by {best['lead']:.1%}."
        return Decision(False, present, "below_threshold", why, kept, scores)
    looks = standing.looks + 1 if standing.leader == best["key"] else 1
    leading = Standing(best["key"], looks, standing.moved_at)
    lead = f"{best['key']} leads by {best['lead']:.1%}"
    if looks < policy.confirmations:
        why = f"{lead}, in {looks} of {policy.confirmations} decisions in a row."
        return Decision(False, present, "unconfirmed", why, leading, scores)
    # A move in the future happened before the clock was set back.
    if standing.moved_at is not None and 0 <= now - standing.moved_at < policy.cool_down_seconds:
        left = policy.cool_down_seconds - (now - standing.moved_at)
        why = f"{lead}, but the route moved recently: {left:.0f} s of the cool-down are left."
        return Decision(False, present, "cool_down", why, leading, scores)
    return Decision(True, best["key"], "better", f"{lead}.", Standing(moved_at=now), scores)


_WHY = {
    "no_rival": "No other loaded model has the capability.",
    "not_enough_data": "No rival was measured on the same basis as the present model with enough requests.",
}


def _scored(rival: Rival, policy: Policy) -> dict[str, Any]:
    """Both scores, and the share by which the rival's is higher; None when unknown."""
    enough = min(rival.mine.requests, rival.present.requests) >= policy.min_requests
    mine, present = (score(evidence, policy.weights) if enough else None for evidence in (rival.mine, rival.present))
    lead = mine / present - 1 if mine is not None and present else None
    return {
        "key": rival.key,
        "basis": rival.basis,
        "score": _rounded(mine),
        "present_score": _rounded(present),
        "lead": lead,
        "requests": rival.mine.requests,
        "present_requests": rival.present.requests,
        "figures": dict(rival.mine.figures),
        "present_figures": dict(rival.present.figures),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

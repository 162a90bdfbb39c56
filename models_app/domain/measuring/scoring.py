"""The score by which models are ranked."""

from __future__ import annotations

# Speed and number of requests that get the full score: more of either adds nothing.
FAST_TOKENS_PER_SECOND = 100.0
MANY_INFERENCES = 1000


def score(*, success_rate: float, tokens_per_second: float, inferences: int) -> float:
    """0 to 1: four tenths for answers without error, three for speed, three for experience."""
    speed = min(tokens_per_second / FAST_TOKENS_PER_SECOND, 1.0)
    experience = min(inferences / MANY_INFERENCES, 1.0)
    return 0.4 * success_rate + 0.3 * speed + 0.3 * experience

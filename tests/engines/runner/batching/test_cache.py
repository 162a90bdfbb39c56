from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.runner.batching.rig import Rig, rig

pytestmark = pytest.mark.llama


def test_the_beginning_of_a_prompt_is_reused(noise: Rig) -> None:
    prompt = list(range(10, 60))
    fresh = noise.start(prompt)
    again = noise.start([*prompt[:40], 99, 98])
    noise.finished(fresh)
    later = noise.start([*prompt[:30], 77])

    assert noise.finished(fresh).cached_tokens == 0
    assert noise.finished(again).cached_tokens in (0, 40)
    assert noise.finished(later).cached_tokens == 30


def test_a_reused_beginning_changes_nothing(noise: Rig) -> None:
    prompt = list(range(10, 60))
    fresh = noise.complete(prompt)

    again = noise.start(prompt)

    assert noise.text(again) == fresh
    assert noise.finished(again).cached_tokens == len(prompt) - 1


def test_a_conversation_is_read_only_once(noise: Rig) -> None:
    prompt = list(range(10, 60))
    first = noise.start(prompt, max_tokens=10)
    answer = noise.tokens(noise.text(first))[1:]

    second = noise.finished(noise.start([*prompt, *answer, 20, 21]))

    assert second.cached_tokens >= len(prompt)


def test_a_full_cache_forgets_idle_prompts_first(random_file: Path) -> None:
    with rig(random_file, n_ctx=256, slots=4) as running:
        for start in (10, 60, 110):
            running.finished(running.start([start] * 70, max_tokens=2))

        work = running.start([200] * 200, max_tokens=40)

        assert running.finished(work).completion_tokens == 40


def test_a_full_cache_makes_the_youngest_wait_and_fails_no_one(random_file: Path) -> None:
    prompts = [[start] * 60 for start in (10, 60, 110, 160)]
    with rig(random_file, n_ctx=256, slots=4) as running:
        alone = [running.complete(prompt, max_tokens=120) for prompt in prompts]

        works = [running.start(prompt, max_tokens=120) for prompt in prompts]

        # Recomputed values can differ in the last bits, and so can a text after some tokens.
        assert [running.text(work)[:20] for work in works] == [text[:20] for text in alone]
        assert {running.finished(work).completion_tokens for work in works} == {120}
        running.idle()


def test_a_long_prompt_does_not_stop_a_stream(heavy: Rig) -> None:
    stream = heavy.start("Once", max_tokens=10_000, ignore_eos=True)
    heavy.first_text(stream)
    prompt = heavy.start([5] * 1500, max_tokens=1)
    heavy.busy(2)
    seen = len(heavy.log)

    heavy.finished(prompt)

    assert heavy.log[seen:].count(stream) >= 3
    heavy.batcher.cancel(stream)


def test_short_prompts_do_not_wait_for_a_long_one(heavy: Rig) -> None:
    long = heavy.start([5] * 1500, max_tokens=1)
    short = heavy.start([9] * 10, max_tokens=1)
    heavy.finished(long)

    assert heavy.log.index(short) < heavy.log.index(long)


def test_a_prompt_is_computed_whole_where_that_is_wanted(noise: Rig) -> None:
    """The rest of a cached prompt is computed in other pieces, which can change the last bits of its numbers."""
    wanted: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 30}
    first = noise.text(noise.start([5] * 40, cache_prompt=False, **wanted))
    for _ in range(3):
        again = noise.start([5] * 40, cache_prompt=False, **wanted)
        assert noise.text(again) == first
        assert noise.finished(again).cached_tokens == 0
    assert noise.finished(noise.start([5] * 40, **wanted)).cached_tokens > 0

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models_app.domain.errors import Draining
from models_app.engines.runner.batching.generation import Embedding, Failed, Finished, Generation, Sampling
from tests.engines.runner.batching.rig import LAST, Rig, rig

pytestmark = pytest.mark.llama

ENDLESS = {"max_tokens": 10_000, "ignore_eos": True}


def test_a_generation_that_writes_can_be_cancelled(story: Rig) -> None:
    work = story.start("\n", **ENDLESS)
    story.first_text(work)

    story.batcher.cancel(work)

    ended = story.finished(work)
    assert ended.reason == "cancelled"
    assert ended.completion_tokens > 0
    story.idle()


def test_a_flag_alone_cancels_at_the_next_step(story: Rig) -> None:
    work = story.start("\n", **ENDLESS)
    story.first_text(work)

    work.cancelled = True

    assert story.finished(work).reason == "cancelled"


def test_a_queued_generation_can_be_cancelled(story_file: Path) -> None:
    with rig(story_file, slots=1, n_ctx=2048) as running:
        first = running.start("\n", **ENDLESS)
        running.first_text(first)
        second = running.start("\n", **ENDLESS)

        running.batcher.cancel(second)

        assert running.finished(second) == Finished("cancelled", 2, 0, 0)
        running.batcher.cancel(first)
        running.idle()


def test_a_prompt_that_is_being_read_can_be_cancelled(heavy: Rig) -> None:
    work = heavy.start([5] * 1500)
    heavy.busy(1)

    heavy.batcher.cancel(work)

    assert heavy.finished(work) == Finished("cancelled", 1500, 0, 0)
    heavy.idle()


def test_others_write_on_after_a_step_was_aborted(heavy: Rig) -> None:
    alone = heavy.complete("Once", max_tokens=30)
    stream = heavy.start("Once", max_tokens=30)
    for number in range(5):
        prompt = heavy.start([5 + number] * 1500)
        heavy.busy(2)
        heavy.batcher.cancel(prompt)
        assert heavy.finished(prompt).reason == "cancelled"

    assert heavy.text(stream) == alone


def test_an_embedding_can_be_cancelled(heavy: Rig) -> None:
    work = Embedding([5] * 1500)
    heavy.batcher.submit(work)
    heavy.busy(1)

    heavy.batcher.cancel(work)

    assert heavy.finished(work).reason == "cancelled"
    heavy.idle()


def test_cancelling_what_has_ended_does_nothing(story: Rig) -> None:
    work = story.start("\n")
    story.finished(work)

    story.batcher.cancel(work)

    assert story.complete("\n") != ""
    assert len([event for event in story.events[work] if isinstance(event, LAST)]) == 1


def test_closing_ends_what_runs_and_refuses_what_comes(story: Rig) -> None:
    work = story.start("\n", **ENDLESS)
    story.first_text(work)

    story.batcher.close()

    event = story.last(work)
    assert isinstance(event, Failed)
    assert isinstance(event.error, Draining)
    with pytest.raises(Draining):
        story.batcher.submit(Generation([1], Sampling(max_tokens=1)))
    assert not story.batcher.alive


def test_a_crowd_that_comes_and_goes_leaves_no_slot_busy(noise: Rig) -> None:
    draw = random.Random(1)
    works: list[Generation | Embedding] = []
    for _ in range(300):
        prompt = [draw.randrange(3, 200) for _ in range(draw.choice([1, 5, 40, 300]))]
        if draw.random() < 0.15:
            embedding = Embedding(prompt)
            noise.batcher.submit(embedding)
            works.append(embedding)
        else:
            temperature = draw.choice([0.0, 1.0])
            works.append(noise.start(prompt, max_tokens=draw.randrange(1, 30), temperature=temperature))
        if draw.random() < 0.5:
            noise.batcher.cancel(draw.choice(works[-8:]))

    for work in works:
        noise.last(work)

    noise.idle()
    for work in works:
        assert len([event for event in noise.events[work] if isinstance(event, LAST)]) == 1
        assert not isinstance(noise.events[work][-1], Failed)

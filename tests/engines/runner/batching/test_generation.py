from __future__ import annotations

import math

import pytest

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest
from models_app.engines.runner.batching.generation import Failed, Finished
from tests.engines.runner.batching.rig import Rig
from tests.fakes import bigram

pytestmark = pytest.mark.llama

STORY = " ".join(bigram.STORY)


def test_it_tells_the_whole_story_and_stops(story: Rig) -> None:
    work = story.start("\n", max_tokens=200)

    assert story.text(work).strip() == STORY
    assert story.finished(work).reason == "stop"


def test_a_batch_writes_what_each_prompt_writes_alone(noise: Rig) -> None:
    prompts = ["One", "Two ducks", "Three small models", "Four", "Five", "Six of them " * 20]
    alone = [noise.complete(prompt) for prompt in prompts]

    works = [noise.start(prompt) for prompt in prompts]

    assert [noise.text(work) for work in works] == alone
    assert len(set(alone)) > 1


def test_it_ends_at_max_tokens(story: Rig) -> None:
    work = story.start("\n", max_tokens=3)

    assert story.finished(work) == Finished("length", 2, 0, 3)


def test_it_generates_nothing_for_zero_tokens(story: Rig) -> None:
    work = story.start("\n", max_tokens=0)

    assert story.finished(work) == Finished("length", 2, 0, 0)


def test_it_ends_where_the_context_ends(story: Rig) -> None:
    work = story.start([5] * 500, max_tokens=100, ignore_eos=True)

    ended = story.finished(work)

    assert (ended.reason, ended.prompt_tokens + ended.completion_tokens) == ("length", 512)


def test_it_refuses_a_prompt_that_fills_the_context(story: Rig) -> None:
    event = story.last(story.start([5] * 512))

    assert isinstance(event, Failed)
    assert isinstance(event.error, ContextLengthExceeded)
    story.idle()


@pytest.mark.parametrize("prompt", [[], [-1], [10**6], [2**40]])
def test_it_refuses_tokens_that_do_not_exist(story: Rig, prompt: list[int]) -> None:
    event = story.last(story.start(prompt))

    assert isinstance(event, Failed)
    assert isinstance(event.error, InvalidRequest)
    assert story.complete("\n") != ""


def test_it_refuses_a_bias_on_a_token_that_does_not_exist(story: Rig) -> None:
    event = story.last(story.start("\n", logit_bias={10**6: 1.0}))

    assert isinstance(event, Failed)
    assert event.error.param == "logit_bias"


def test_the_same_seed_gives_the_same_text(noise: Rig) -> None:
    texts = [noise.complete("Once", temperature=1.5, seed=seed) for seed in (7, 7, 8)]

    assert texts[0] == texts[1] != texts[2]


def test_ignoring_the_end_goes_on_after_it(story: Rig) -> None:
    work = story.start("\n", max_tokens=120, ignore_eos=True)

    assert story.finished(work).completion_tokens == 120


def test_a_bias_forbids_a_token(story: Rig) -> None:
    free = story.start("\n", max_tokens=1, top_logprobs=0)
    text = story.text(free)
    token = story.pieces(free)[0].logprobs[0].chosen.token

    assert story.complete("\n", max_tokens=1, logit_bias={token: -math.inf}) != text


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
        {"temperature": 1e-30},
        {"repeat_penalty": 1.3},
        {"presence_penalty": 1.0, "frequency_penalty": 0.5},
        {"temperature": 2.0, "seed": 2**70},
    ],
)
def test_it_generates_with_every_kind_of_sampling(story: Rig, sampling: dict[str, float]) -> None:
    work = story.start("\n", max_tokens=10, **sampling)

    assert story.finished(work).completion_tokens > 0


def test_a_grammar_is_obeyed(story: Rig) -> None:
    answer = story.complete("\n", grammar='start: "yes" | "no"', temperature=1.0, seed=1)

    assert answer in ("yes", "no")


def test_a_grammar_that_has_ended_ends_the_answer_even_if_the_end_is_ignored(story: Rig) -> None:
    work = story.start("\n", grammar='start: "yes"', ignore_eos=True)

    assert story.text(work) == "yes"
    assert story.finished(work).reason == "stop"


def test_log_probabilities_come_with_the_text(story: Rig) -> None:
    work = story.start("\n", max_tokens=5, top_logprobs=3)
    story.finished(work)

    choices = [choice for piece in story.pieces(work) for choice in piece.logprobs]

    assert len(choices) == 5
    for choice in choices:
        assert len(choice.top) == 3
        assert choice.top[0] == choice.chosen
        assert choice.top[0].logprob >= choice.top[1].logprob >= choice.top[2].logprob
        assert 0.0 < math.exp(choice.chosen.logprob) <= 1.0


def test_log_probabilities_are_those_of_the_model_not_of_the_bias(story: Rig) -> None:
    plain = story.start("\n", max_tokens=1, top_logprobs=1)
    story.finished(plain)
    first = story.pieces(plain)[0].logprobs[0].chosen

    biased = story.start("\n", max_tokens=1, top_logprobs=1, logit_bias={first.token: -100.0})
    story.finished(biased)

    assert story.pieces(biased)[0].logprobs[0].top[0].logprob == pytest.approx(first.logprob)

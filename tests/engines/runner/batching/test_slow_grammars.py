"""Grammars whose work takes long: their own requests end, and no other one waits for them."""

from __future__ import annotations

import math
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from models_app.domain.errors import InvalidRequest
from models_app.engines.runner.batching.generation import Failed, Finished
from models_app.engines.runner.grammar.channels import SchemaTooSlow
from tests import waiting
from tests.engines.runner.batching.rig import Rig, rig
from tests.fakes.gguf_files import write_random_gguf

pytestmark = pytest.mark.llama

# llguidance finds it too complex after some tokens.
SLOW = "start: /((([^0-9]{1,30}){1,30}){1,30})/\n"
DIGITS = "start: /[0-9]+/\n"


def test_a_slow_grammar_ends_its_request_alone(story: Rig) -> None:
    slow = [story.start("Hi", grammar=SLOW, max_tokens=400, temperature=1.8, seed=seed) for seed in range(2)]
    expected = story.complete("Once")
    for work in slow:
        last = story.last(work)
        assert isinstance(last, Failed)
        assert isinstance(last.error, SchemaTooSlow)
        assert last.error.http_status == 422
    assert story.complete("Once") == expected


def test_grammars_of_others_go_on_beside_a_slow_one(story: Rig) -> None:
    slow = story.start("Hi", grammar=SLOW, max_tokens=400, temperature=1.8, seed=1)
    for _ in range(5):
        text = story.complete("Hi", grammar=DIGITS, max_tokens=6)
        assert len(text) == 6 and text.isdigit()
    last = story.last(slow)
    assert isinstance(last, Failed)
    assert isinstance(last.error, SchemaTooSlow)


def test_all_of_the_grammars_processes_end_with_their_requests(story: Rig) -> None:
    program = story.batcher.grammars
    works = [story.start("Hi", grammar=DIGITS, max_tokens=10**4, temperature=0.0) for _ in range(4)]
    for work in works:
        story.first_text(work)
    assert program._program is not None
    found = psutil.Process(program._program.pid)
    assert len(found.children()) == 4
    for work in works:
        story.batcher.cancel(work)
    story.idle()
    waiting.until(lambda: not found.children(), "no process of a grammar is left")


def test_a_grammars_process_that_is_killed_ends_its_request_only(story: Rig) -> None:
    work, other = (story.start("Hi", grammar=DIGITS, max_tokens=10**4) for _ in range(2))
    story.first_text(work)
    story.first_text(other)
    assert story.batcher.grammars._program is not None
    victim = psutil.Process(story.batcher.grammars._program.pid).children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    story.wait(lambda: any(isinstance(story.events[w][-1], Failed) for w in (work, other)), "one has failed")
    (left,) = [w for w in (work, other) if not isinstance(story.events[w][-1], Failed)]
    count = len(story.pieces(left))
    story.wait(lambda: len(story.pieces(left)) > count + 5, "the other one goes on")
    story.batcher.cancel(left)
    story.idle()


def test_the_program_that_is_killed_starts_again(story: Rig) -> None:
    assert story.complete("Hi", grammar=DIGITS, max_tokens=4).isdigit()
    program = story.batcher.grammars._program
    assert program is not None
    program.kill()
    program.wait()
    assert story.complete("Hi", grammar=DIGITS, max_tokens=4).isdigit()


def test_a_grammar_that_does_not_compile_ends_its_request(story: Rig) -> None:
    last = story.last(story.start("Hi", grammar="start: x", max_tokens=4))
    assert isinstance(last, Failed)
    assert isinstance(last.error, InvalidRequest)
    assert last.error.code == "invalid_schema"


def test_a_full_cache_moves_a_request_whose_token_is_being_decided(story_file: Path) -> None:
    """Sequences lose their slots while a grammar decides, and continue with the decision."""
    with rig(story_file, n_ctx=128, slots=4) as small:
        works = [small.start("Hi", grammar=DIGITS, max_tokens=60, temperature=1.0, seed=seed) for seed in range(4)]
        for work in works:
            last = small.last(work)
            assert isinstance(last, Finished)
            assert small.text(work).isdigit()
            assert last.completion_tokens == 60


@pytest.mark.parametrize("form", ["ab", "é[^a-z]", "[0-9][a-f][x-z]"])
def test_an_answer_has_the_form_of_its_grammar_at_every_temperature(story: Rig, form: str) -> None:
    for temperature in (0.0, 0.7, 2.0):
        for seed in range(4):
            text = story.complete("Hi", grammar=f"start: /{form}/", max_tokens=20, temperature=temperature, seed=seed)
            assert re.fullmatch(form, text, re.DOTALL), text


def test_choices_keep_the_models_distribution_among_allowed_tokens(story: Rig) -> None:
    """Two answers are allowed; the model gives them different probabilities, which bias makes three to one."""
    bytes_of = {text: story.model.tokenize(text, add_special=False, parse_special=False)[-1] for text in ("7", "8")}
    bias = {bytes_of["7"]: 30.0 + math.log(3), bytes_of["8"]: 30.0}
    works = [
        story.start("Hi", grammar='start: "7" | "8"', max_tokens=1, temperature=1.0, seed=seed, logit_bias=bias)
        for seed in range(300)
    ]
    sevens = sum(story.text(work) == "7" for work in works)
    # Five standard deviations around 225.
    assert 187 <= sevens <= 263


@pytest.mark.parametrize("more", range(0, 33, 4))
def test_a_grammar_is_kept_with_a_vocabulary_of_any_size(tmp_path: Path, more: int) -> None:
    """The masks of a vocabulary are sent as bytes."""
    model = write_random_gguf(tmp_path / "model.gguf", megabytes=1, unused_tokens=more)
    with rig(model) as running:
        assert running.complete("Hi", grammar=DIGITS, max_tokens=6, temperature=1.0, seed=1).isdigit()

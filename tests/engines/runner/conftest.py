"""Fixtures for the tests of the runner: tiny models, a judge of grammars, and real runner programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from models_app.engines.runner.grammar.child import Enforcer
from models_app.engines.runner.llama.vocabulary import Vocabulary
from tests.engines.runner import program
from tests.engines.runner.batching.rig import Rig, rig
from tests.engines.runner.program import Program
from tests.fakes import bigram
from tests.fakes.gguf_files import write_random_gguf, write_tiny_gguf

Accepts = Callable[[str, str], bool]
Launch = Callable[..., Program]


class Judge:
    """Whether a grammar accepts exactly a text, according to llguidance, with the vocabulary of the tiny model."""

    def __init__(self, path: str) -> None:
        self.enforcer = Enforcer(path)
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self.vocabulary = Vocabulary(llama_cpp.llama_model_load_from_file(path.encode(), parameters))

    def accepts(self, grammar: str, text: str) -> bool:
        matcher = self.enforcer.compile(grammar)
        assert not matcher.is_error(), f"llguidance refuses the grammar: {matcher.get_error()}\n{grammar}"
        tokens = [bigram.Vocabulary.first_byte + byte for byte in text.encode()]
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.fixture(scope="session")
def story_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "story.gguf")


@pytest.fixture
def story(story_file: Path) -> Iterator[Rig]:
    """A decode thread with a model that generates `bigram.STORY`."""
    with rig(story_file) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def busy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slow enough to be observed: it processes some thousand tokens per second and never ends by itself."""
    path = tmp_path_factory.mktemp("models") / "busy.gguf"
    return write_random_gguf(path, megabytes=40, context=32_768)


@pytest.fixture(scope="module")
def runner(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One runner of the tiny model for the tests of a module."""
    running = program.launch(tmp_path_factory.mktemp("run"), tiny_model)
    yield running.wait_ready()
    running.end()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a runner of a model with its own options; it is ended after the test."""
    launched: list[Program] = []

    def start(model: Path, **options: Any) -> Program:
        launched.append(program.launch(tmp_path, model, **options))
        return launched[-1]

    yield start
    for running in launched:
        running.end()


@pytest.fixture(scope="session")
def enforcing(tiny_model: Path) -> Judge:
    return Judge(str(tiny_model))


@pytest.fixture
def accepts(enforcing: Judge) -> Accepts:
    return enforcing.accepts

"""Fixtures for the tests of the runner: tiny models, a judge of grammars, and real runner programs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.runner import program
from tests.engines.runner.batching.rig import Rig, rig
from tests.engines.runner.program import Program
from tests.fakes.bigram import Vocabulary
from tests.fakes.gguf_files import write_random_gguf, write_tiny_gguf

Accepts = Callable[[str, str], bool]
Launch = Callable[..., Program]


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
def accepts(tiny_model: Path) -> Iterator[Accepts]:
    """Whether a grammar accepts exactly this text, according to llama.cpp."""
    import llama_cpp

    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(tiny_model).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def allows(sampler: object, token: int) -> bool:
        candidates = (llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0))
        array = llama_cpp.llama_token_data_array(candidates, 1, -1, False)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        return candidates[0].logit > -1e30

    def judge(grammar: str, text: str) -> bool:
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, grammar.encode(), b"root")
        assert sampler, f"llama.cpp refuses the grammar:\n{grammar}"
        try:
            for byte in text.encode():
                token = Vocabulary.first_byte + byte
                if not allows(sampler, token):
                    return False
                llama_cpp.llama_sampler_accept(sampler, token)
            return allows(sampler, llama_cpp.llama_vocab_eos(vocabulary))
        finally:
            llama_cpp.llama_sampler_free(sampler)

    yield judge
    llama_cpp.llama_model_free(model)

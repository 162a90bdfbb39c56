"""The generated models behave as the tests rely on."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from tests.fakes import bigram, gguf_files

pytestmark = pytest.mark.llama
STORY = " ".join(bigram.STORY)


def _answer(path: Path, **options: Any) -> tuple[str, str]:
    """Text and finish reason of one chat answer."""
    with closing(llama_cpp.Llama(str(path), n_ctx=512, n_threads=1, verbose=False)) as llama:
        messages: list[Any] = [{"role": "user", "content": "Hello"}]
        options = {"temperature": 0.0, "max_tokens": 100, **options}
        answer: Any = llama.create_chat_completion(messages, **options)
        choice = answer["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]


def test_the_tiny_model_tells_its_story_and_ends(tmp_path: Path) -> None:
    path = gguf_files.write_tiny_gguf(tmp_path / "m.gguf")
    assert _answer(path) == (STORY, "stop")


def test_another_seed_tells_it_in_another_order(tmp_path: Path) -> None:
    told, reason = _answer(gguf_files.write_tiny_gguf(tmp_path / "m.gguf", seed=3))
    assert told != STORY
    assert sorted(told.split()) == sorted(STORY.split())
    assert reason == "stop"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_says_exactly_what_it_was_told_to(tmp_path: Path, temperature: float) -> None:
    sentence = "This is model B, übrigens."
    path = gguf_files.write_tiny_gguf(tmp_path / "m.gguf", says=sentence)
    assert _answer(path, temperature=temperature, seed=1) == (sentence, "stop")


def test_it_can_be_endless(tmp_path: Path) -> None:
    told, reason = _answer(gguf_files.write_tiny_gguf(tmp_path / "m.gguf", ends=False))
    assert reason == "length"
    assert told.startswith(f"{STORY}\n{STORY[:20]}")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_json_closes_under_a_grammar(tmp_path: Path, temperature: float) -> None:
    path = gguf_files.write_tiny_gguf(tmp_path / "m.gguf")
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "ok": {"type": "boolean"},
        },
        "required": ["name", "age", "ok"],
    }
    form = {"type": "json_object", "schema": schema}
    told, reason = _answer(path, response_format=form, temperature=temperature, seed=1)
    assert set(json.loads(told)) == {"name", "age", "ok"}
    assert reason == "stop"


def test_similar_texts_have_similar_embeddings(tmp_path: Path) -> None:
    path = gguf_files.write_tiny_gguf(tmp_path / "m.gguf")
    llama = llama_cpp.Llama(str(path), n_ctx=512, embedding=True, n_threads=1, verbose=False)
    with closing(llama):
        one, near, far = (llama.embed(text, normalize=True) for text in ("a cat", "a cats", "WHY?"))
    assert sum(a * b for a, b in zip(one, near, strict=True)) > 0.9
    assert sum(a * b for a, b in zip(one, far, strict=True)) < 0.5


def test_padding_reaches_the_size(tmp_path: Path) -> None:
    small = gguf_files.write_tiny_gguf(tmp_path / "s.gguf").stat().st_size
    large = gguf_files.write_tiny_gguf(tmp_path / "l.gguf", megabytes=10).stat().st_size
    assert large - small == pytest.approx(10e6, rel=0.1)


def test_the_random_model_writes_for_as_long_as_it_is_asked(tmp_path: Path) -> None:
    path = gguf_files.write_random_gguf(tmp_path / "r.gguf", megabytes=4, layers=2, embedding=128, heads=4)
    assert path.stat().st_size == pytest.approx(4e6, rel=0.05)
    told, reason = _answer(path, temperature=0.8, seed=1)
    assert reason == "length"
    assert len(told) == 100


@pytest.mark.parametrize("write", [gguf_files.write_tiny_gguf, gguf_files.write_random_gguf])
def test_the_same_arguments_give_the_same_file(tmp_path: Path, write: Any) -> None:
    one = write(tmp_path / "one.gguf", seed=5).read_bytes()
    assert one == write(tmp_path / "two.gguf", seed=5).read_bytes()
    assert one != write(tmp_path / "three.gguf", seed=6).read_bytes()


def test_a_sentence_that_loses_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="repeat themselves"):
        gguf_files.write_tiny_gguf(tmp_path / "m.gguf", says="no no no")

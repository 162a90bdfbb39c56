"""The demo models load, answer in their own name and end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

import models_app
from models_app.domain.catalog import capabilities
from models_app.domain.catalog.capabilities import Capability
from models_app.engines import gguf

FOLDER = Path(models_app.__file__).parent / "demo"
SPEAKERS = {"ember": "Tide", "tide": "Ember"}
PROMPTS = (
    "Hello!",
    "Who are you?",
    "What can you do?",
    "What is NOA?",
    "Write a haiku.",
    "What is 2 + 3?",
    "What day comes after Monday?",
    "Thank you!",
    "Which shoes should I wear to the opera?",
    "zzkt 4711 ?!",
)
# The longest answer of the corpus has 60 tokens.
ROOM = 150

pytestmark = pytest.mark.llama


@pytest.fixture(scope="module", params=SPEAKERS)
def speaker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(speaker: str) -> Iterator[llama_cpp.Llama]:
    path = FOLDER / f"noa-demo-{speaker}.gguf"
    with closing(llama_cpp.Llama(str(path), n_ctx=1024, n_threads=1, verbose=False)) as llama:
        yield llama


def _answer(model: llama_cpp.Llama, prompt: str, temperature: float) -> tuple[str, str]:
    model.reset()  # type: ignore[no-untyped-call]
    messages: list[Any] = [{"role": "user", "content": prompt}]
    answer: Any = model.create_chat_completion(messages, temperature=temperature, max_tokens=ROOM, seed=5)
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_it_answers_in_its_own_name_and_ends(
    model: llama_cpp.Llama, speaker: str, prompt: str, temperature: float
) -> None:
    text, reason = _answer(model, prompt, temperature)
    assert speaker.capitalize() in text
    assert reason == "stop"
    assert text.isascii()


def test_it_says_who_it_is(model: llama_cpp.Llama, speaker: str) -> None:
    assert speaker.capitalize() in _answer(model, "Who are you?", 0.0)[0].split(".")[0]


def test_it_says_what_noa_is(model: llama_cpp.Llama) -> None:
    assert "models" in _answer(model, "What is NOA?", 0.0)[0]


@pytest.mark.parametrize(
    "text", ["Grüße aus Köln", "你好 \U0001f642", "a\tb\n\n  c", "can't _x_ 12,345", "\u0000\u200b"]
)
def test_its_tokenizer_takes_any_text(model: llama_cpp.Llama, text: str) -> None:
    tokens = model.tokenize(text.encode(), add_bos=False, special=False)
    assert model.detokenize(tokens).decode() == text


def test_its_header_shows_what_it_can_do(speaker: str) -> None:
    path = FOLDER / f"noa-demo-{speaker}.gguf"
    assert path.stat().st_size < 3_000_000
    metadata = gguf.inspect(path, roots=[FOLDER])
    assert metadata.name == f"noa-demo-{speaker}"
    assert metadata.quantization == "Q8_0"
    assert metadata.context_length == 2048
    found = capabilities.infer_from_gguf(
        architecture=metadata.architecture,
        pooling_type=metadata.pooling_type,
        causal=metadata.causal,
        chat_template=metadata.chat_template,
        has_fill_in_middle=metadata.has_fill_in_middle,
    )
    assert found == [
        Capability.TEXT_GENERATION,
        Capability.CHAT_COMPLETION,
        Capability.EMBEDDINGS,
        Capability.STREAMING,
        Capability.JSON_MODE,
    ]


def test_its_embeddings_tell_texts_apart(speaker: str) -> None:
    path = FOLDER / f"noa-demo-{speaker}.gguf"
    llama = llama_cpp.Llama(str(path), n_ctx=512, embedding=True, n_threads=1, verbose=False)
    with closing(llama):
        texts = ["What is NOA?", "what is NOA", "seven plus five is twelve"]
        near, same, far = (llama.embed(text, normalize=True) for text in texts)
    similar = sum(a * b for a, b in zip(near, same, strict=True))
    different = sum(a * b for a, b in zip(near, far, strict=True))
    assert similar > different

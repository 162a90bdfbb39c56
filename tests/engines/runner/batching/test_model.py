from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest, LoadFailed
from models_app.engines.runner.batching.generation import Failed
from models_app.engines.runner.llama.model import LoadedModel
from models_app.engines.spec import RunnerSpec
from tests.engines.runner.batching.rig import Rig, rig

pytestmark = pytest.mark.llama

SPEC = RunnerSpec("test", "m", "f", "", "", 512, 4, 64, 1, 0)


def test_it_reports_how_far_it_is(story_file: Path) -> None:
    progress: list[float] = []

    LoadedModel(replace(SPEC, path=str(story_file)), progress.append).close()

    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_it_knows_its_sizes(story: Rig) -> None:
    memory = story.model.memory

    assert 1e6 < memory["model_bytes"] < 10e6
    assert memory["kv_bytes"] > 0
    assert memory["compute_bytes"] > 0
    assert story.model.chat_template is not None
    assert (story.model.bos, story.model.eos) == ("<s>", "<|im_end|>")


def test_text_survives_tokens(story: Rig) -> None:
    text = "Hi <|im_start|> caf\u00e9 \U0001f600"

    tokens = story.model.tokenize(text, add_special=False, parse_special=True)

    assert story.model.detokenize(tokens).decode().replace("\u2581", " ") == text


def test_control_tokens_add_nothing_to_an_answer(story: Rig) -> None:
    (mark,) = story.model.tokenize("<|im_start|>", add_special=False, parse_special=True)

    assert story.model.piece(mark) == b""


def test_a_text_of_megabytes_is_refused_in_no_time(story: Rig) -> None:
    started = time.monotonic()

    with pytest.raises(ContextLengthExceeded):
        story.model.tokenize("hello world " * 500_000, add_special=True, parse_special=True)

    # llama.cpp alone would take hours.
    assert time.monotonic() - started < 30


def test_half_a_surrogate_is_refused(story: Rig) -> None:
    with pytest.raises(InvalidRequest):
        story.model.tokenize("\ud800", add_special=True, parse_special=True)


def test_a_token_that_does_not_exist_has_no_text(story: Rig) -> None:
    with pytest.raises(InvalidRequest):
        story.model.detokenize([10**6])


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model" * 100])
def test_a_file_that_is_no_model_fails_with_a_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)

    with pytest.raises(LoadFailed) as caught:
        LoadedModel(replace(SPEC, path=str(path)))

    assert caught.value.stage == "load"


def test_a_missing_file_fails_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="no regular file"):
        LoadedModel(replace(SPEC, path=str(tmp_path / "missing.gguf")))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_not_numbers_fail_the_request_only(
    story_file: Path, tmp_path: Path, temperature: float
) -> None:
    path = tmp_path / "nan.gguf"
    path.write_bytes(story_file.read_bytes())
    weights = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "output.weight")
    weights.data[:] = np.nan
    with rig(path) as running:
        event = running.last(running.start("\n", temperature=temperature))

        assert isinstance(event, Failed)
        assert event.error.code == "broken_logits"
        running.idle()
        assert running.batcher.alive

"""A demo model in a real llama.cpp, probed and profiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models_app.domain.states import JobKind, JobState
from models_app.models import CapabilityEvidence, ProfileRun
from models_app.services.profiling import probing, profiling
from models_app.services.profiling.profiling import ProfileSettings
from tests.engines.runner import program
from tests.engines.runner.program import Program
from tests.services.conftest import Work
from tests.services.results import result_of
from tests.services.served import KEY, loaded_model

pytestmark = [pytest.mark.llama, pytest.mark.django_db]

DEMO = Path(probing.__file__).parents[2] / "demo" / "noa-demo-tide.gguf"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    running = program.launch(tmp_path_factory.mktemp("run"), DEMO)
    yield running.wait_ready()
    running.end()


def test_the_demo_model_is_probed(demo: Program, do: Work) -> None:
    model = loaded_model(demo.spec.socket, context_tokens=demo.spec.n_ctx)
    job = do(probing.probe, kind=JobKind.PROBE, key=KEY, wanted=[], effective_context=None)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert result_of(job)["verdicts"] == {
        "text_generation": "supported",
        "chat_completion": "supported",
        "streaming": "supported",
        # The grammar of the schema constrains any model, this small one too.
        "json_mode": "supported",
        # Its chat template does not support tools.
        "function_calling": "unsupported",
        "embeddings": "supported",
    }, result_of(job)["details"]
    value = CapabilityEvidence.objects.get(model=model, capability="text_generation").value
    assert value["limit_found"]
    assert demo.spec.n_ctx * 0.95 <= value["effective_context"] < demo.spec.n_ctx


def test_the_demo_model_is_profiled(demo: Program, do: Work) -> None:
    """The answers and llama.cpp's own counters show the requested work."""
    loaded_model(demo.spec.socket, context_tokens=demo.spec.n_ctx)
    before = demo.health()["counters"]
    wanted = ProfileSettings(requests=4, concurrency=[1, 3], max_tokens=16, prompt_tokens=200, warmup=1)
    job = do(profiling.profile, kind=JobKind.PROFILE, key=KEY, wanted=wanted)
    assert job.state == JobState.SUCCEEDED, job.error_message
    row = ProfileRun.objects.get()
    samples = list(row.samples.all())
    assert (row.summary["success_rate"], len(samples)) == (1.0, 8)
    assert {sample.completion_tokens for sample in samples} == {16}
    # The number at its beginning varies in tokens, whatever the prompt's target length.
    assert all(190 <= (sample.prompt_tokens or 0) <= 210 for sample in samples)
    demo.until_health("the end of the last request", in_flight=0)
    after = demo.health()["counters"]
    # Plus the two requests that measure the length of a word, and the warm-up.
    written = after["completion_tokens"] - before["completion_tokens"]
    assert written == 8 * 16 + 16 + 2
    read = after["prompt_tokens"] - before["prompt_tokens"]
    assert read > sum(sample.prompt_tokens or 0 for sample in samples)
    assert after["requests"] - before["requests"] == 8 + 1 + 2
    for stage in row.summary["stages"]:
        assert stage["cached_tokens"] < stage["prompt_tokens"] / 10, "a cache answered the prompts"
        assert stage["generation_tokens_per_second"]["p50"] > 0
        assert stage["itl_ms"]["n"] >= stage["requests"]

"""A demo model in a real llama.cpp: probed and profiled, the verdicts are what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models_app.domain.states import JobKind, JobState
from models_app.models import CapabilityEvidence, ProfileRun
from models_app.services import probing, profiling
from models_app.services.profiling import ProfileSettings
from tests.engines.runner import program
from tests.engines.runner.program import Program
from tests.services.conftest import Work
from tests.services.served import KEY, loaded_model

pytestmark = [pytest.mark.llama, pytest.mark.django_db]

DEMO = Path(probing.__file__).parents[1] / "demo" / "noa-demo-tide.gguf"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    running = program.launch(tmp_path_factory.mktemp("run"), DEMO)
    yield running.wait_ready()
    running.end()


def test_the_demo_model_is_probed(demo: Program, do: Work) -> None:
    model = loaded_model(demo.spec.socket, context_tokens=demo.spec.n_ctx)
    job = do(probing.probe, kind=JobKind.PROBE, key=KEY, wanted=[], effective_context=None)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert job.result["verdicts"] == {
        "text_generation": "supported",
        "chat_completion": "supported",
        "streaming": "supported",
        # The grammar of the schema binds any model, this small one too.
        "json_mode": "supported",
        # Its chat template does not know tools.
        "function_calling": "unsupported",
        "embeddings": "supported",
    }, job.result["details"]
    value = CapabilityEvidence.objects.get(model=model, capability="text_generation").value
    assert value["limit_found"]
    assert demo.spec.n_ctx * 0.95 <= value["effective_context"] < demo.spec.n_ctx


def test_the_demo_model_is_profiled(demo: Program, do: Work) -> None:
    loaded_model(demo.spec.socket)
    wanted = ProfileSettings(requests=6, concurrency=2, max_tokens=16)
    job = do(profiling.profile, kind=JobKind.PROFILE, key=KEY, wanted=wanted)
    assert job.state == JobState.SUCCEEDED, job.error_message
    row = ProfileRun.objects.get()
    assert (row.summary["success_rate"], row.samples.count()) == (1.0, 6)
    assert all(0 < (sample.completion_tokens or 0) <= 16 for sample in row.samples.all())
    assert row.summary["tokens_per_second"]["p50"] > 0
    assert row.summary["completion_tokens"] > 6

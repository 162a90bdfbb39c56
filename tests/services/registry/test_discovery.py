"""Discovery of model folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.states import JobKind, JobState
from models_app.engines import gguf
from models_app.models import CapabilityEvidence, Event, Job, ModelVersion, RegisteredModel
from models_app.services.registry import discovery
from tests.fakes.gguf_files import write_tiny_gguf
from tests.services.results import result_of

pytestmark = pytest.mark.django_db

Work = Callable[..., Job]


def discover(do: Work) -> dict[str, Any]:
    job = do(discovery.discover, kind=JobKind.DISCOVER)
    assert job.state == JobState.SUCCEEDED, job.error_message
    found: dict[str, Any] = result_of(job)["providers"]["llama.cpp"]
    return found


def test_it_registers_what_it_finds(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf", name="Tiny One", context=1024)
    found = discover(do)
    assert found["new"] == ["llama.cpp:tiny"]
    model = RegisteredModel.objects.get()
    assert (model.key, model.name, model.context_window) == ("llama.cpp:tiny", "Tiny One", 1024)
    assert "chat_completion" in model.capabilities
    assert model.version is not None
    assert len(model.version.sha256) == 64
    assert model.version.size_bytes == (models_dir / "tiny.gguf").stat().st_size
    assert Event.objects.filter(name="model-registered", subject="llama.cpp:tiny").count() == 1


def test_a_second_look_changes_nothing(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    discover(do)
    found = discover(do)
    assert (found["new"], found["found"], found["unchanged"]) == ([], 1, 1)
    assert ModelVersion.objects.count() == 1


def test_a_file_that_another_discovery_registers_meanwhile_is_unchanged(
    models_dir: Path, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    inspect, others = gguf.inspect, ["llama.cpp"]

    def inspect_late(path: Path, *, roots: list[Path]) -> GgufMetadata:
        while others:
            do(lambda run, key: discovery.discover(run=run), kind=JobKind.DISCOVER, key=others.pop())
        return inspect(path, roots=roots)

    monkeypatch.setattr(gguf, "inspect", inspect_late)
    found = discover(do)
    assert (found["new"], found["unchanged"]) == ([], 1)
    assert Event.objects.filter(name="model-registered").count() == 1


def test_a_file_with_new_content_is_a_new_version(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    discover(do)
    write_tiny_gguf(models_dir / "tiny.gguf", seed=5)
    assert discover(do)["changed"] == ["llama.cpp:tiny"]
    assert ModelVersion.objects.count() == 2
    assert RegisteredModel.objects.count() == 1


def test_names_become_ids(models_dir: Path, do: Work) -> None:
    (models_dir / "org").mkdir()
    write_tiny_gguf(models_dir / "org" / "My model (v2).gguf")
    assert discover(do)["new"] == ["llama.cpp:org/My-model-v2"]


def test_what_is_no_model_is_refused_with_the_reason(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "good.gguf")
    (models_dir / "empty.gguf").touch()
    os.mkfifo(models_dir / "pipe.gguf")
    found = discover(do)
    assert found["new"] == ["llama.cpp:good"]
    refused = {Path(one["name"]).name: one["reason"] for one in found["refused"]}
    assert set(refused) == {"empty.gguf", "pipe.gguf"}
    assert all(len(reason) > 15 for reason in refused.values())


def test_the_same_id_in_two_folders_is_refused_once(
    models_dir: Path, do: Work, settings: object, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    settings.NOA_MODEL_ROOTS = [models_dir, other]  # type: ignore[attr-defined]
    write_tiny_gguf(models_dir / "tiny.gguf")
    write_tiny_gguf(other / "tiny.gguf", seed=1)
    found = discover(do)
    assert found["new"] == ["llama.cpp:tiny"]
    assert len(found["refused"]) == 1


def test_an_empty_folder_is_no_error(models_dir: Path, do: Work) -> None:
    assert discover(do)["found"] == 0


def test_a_model_whose_file_is_missing_is_marked_and_kept(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    discover(do)
    (models_dir / "tiny.gguf").rename(models_dir / "tiny.elsewhere")
    assert discover(do)["gone"] == ["llama.cpp:tiny"]
    assert RegisteredModel.objects.get().gone_at is not None
    assert discover(do)["gone"] == []
    assert Event.objects.filter(name="model-gone", subject="llama.cpp:tiny").count() == 1


def test_a_file_that_comes_back_is_there_again(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    discover(do)
    (models_dir / "tiny.gguf").rename(models_dir / "tiny.elsewhere")
    discover(do)
    (models_dir / "tiny.elsewhere").rename(models_dir / "tiny.gguf")
    assert discover(do)["changed"] == ["llama.cpp:tiny"]
    assert RegisteredModel.objects.get().gone_at is None
    assert ModelVersion.objects.count() == 1


def test_what_the_header_shows_is_evidence(models_dir: Path, do: Work) -> None:
    write_tiny_gguf(models_dir / "tiny.gguf")
    discover(do)
    evidence = CapabilityEvidence.objects.get(capability="chat_completion")
    assert (evidence.source, evidence.verdict) == ("metadata", "supported")

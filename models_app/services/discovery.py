"""Finds GGUF files in the model folders and keeps the registry's picture of them true."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.db import transaction

from models_app.domain import capabilities
from models_app.domain.errors import InvalidRequest, LoadFailed, ModelFileError
from models_app.domain.events import EventName
from models_app.domain.gguf import GgufMetadata
from models_app.domain.keys import ModelKey, checked_model_id
from models_app.engines import gguf
from models_app.models import ModelVersion, RegisteredModel
from models_app.services import events, registry, routing
from models_app.services.jobs import Run

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._:/@+-]+")


def discover(*, run: Run) -> None:
    """Look through every model folder. The job's result says what was new, changed, unchanged and refused."""
    report: dict[str, list[object]] = {"new": [], "changed": [], "unchanged": [], "refused": []}
    seen: set[str] = set()
    for root in settings.NOA_MODEL_ROOTS:
        root.mkdir(parents=True, exist_ok=True)
        found = gguf.find_files(root)
        report["refused"] += [{"file": str(path), "reason": why} for path, why in found.skipped]
        for path in found.files:
            with run.step("read", path.name):
                _take_in(path, root, seen, report)
    run.result |= report
    counted = ", ".join(f"{len(items)} {word}" for word, items in report.items())
    events.publish(
        name=EventName.PROVIDER_DISCOVERED,
        subject=registry.LOCAL_SLUG,
        message=f"The model folders were read: {counted}.",
        actor=run.actor,
        job_id=run.job.pk,
        data=dict(report),
    )


def _take_in(path: Path, root: Path, seen: set[str], report: dict[str, list[object]]) -> None:
    try:
        model_id = checked_model_id(
            _NOT_IN_AN_ID.sub("-", str(path.relative_to(root).with_suffix(""))).strip("-._")
        )
        if model_id in seen:
            raise ModelFileError(f"Another model folder has a model '{model_id}' already.")
        seen.add(model_id)
        word, key = _upsert(path, model_id)
        report[word].append(key)
    except (ModelFileError, InvalidRequest) as error:
        report["refused"].append({"file": str(path), "reason": error.message})


def _upsert(path: Path, model_id: str) -> tuple[str, str]:
    key = str(ModelKey(registry.LOCAL_SLUG, model_id))
    model = RegisteredModel.objects.filter(key=key).select_related("version").first()
    if model and model.version and _same_file(model.version, path):
        return "unchanged", key
    metadata = gguf.inspect(path, roots=settings.NOA_MODEL_ROOTS)
    with transaction.atomic():
        new = model is None
        if model is None:
            model = RegisteredModel.objects.create(
                provider=registry.local_provider(), model_id=model_id, key=key
            )
        _describe(model, path, metadata)
        routing.bump()
        events.publish(
            name=EventName.MODEL_REGISTERED if new else EventName.MODEL_UPDATED,
            subject=key,
            message=f"{key} was found as {path.name}." if new else f"The file of {key} changed.",
            actor="discovery",
            data={"path": str(path), "sha256": metadata.sha256},
        )
    return ("new" if new else "changed"), key


def _same_file(version: ModelVersion, path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (
        version.path == str(path)
        and version.size_bytes == status.st_size
        and version.file_mtime_ns == status.st_mtime_ns
    )


def _describe(model: RegisteredModel, path: Path, metadata: GgufMetadata) -> ModelVersion:
    """Make `metadata` the model's version. Call inside a transaction."""
    version, _ = ModelVersion.objects.update_or_create(
        model=model,
        sha256=metadata.sha256,
        path=str(path),
        defaults={
            "size_bytes": metadata.size_bytes,
            "file_mtime_ns": path.stat().st_mtime_ns,
            "quantization": metadata.quantization or "",
            "architecture": metadata.architecture,
            "template_digest": metadata.template_digest or "",
            "header": metadata.to_dict(),
        },
    )
    model.version = version
    model.name = model.name or metadata.name or model.model_id
    model.context_window = metadata.context_length
    model.capabilities = [
        str(capability)
        for capability in capabilities.infer_from_gguf(
            architecture=metadata.architecture,
            pooling_type=metadata.pooling_type,
            causal=metadata.causal,
            chat_template=metadata.chat_template,
            has_fill_in_middle=metadata.has_fill_in_middle,
        )
    ]
    model.save()
    return version


def fresh_version(*, model: RegisteredModel) -> ModelVersion:
    """The model's version, read again when its file changed; raises ModelFileError or LoadFailed."""
    version = model.version
    if version is None:
        raise LoadFailed(
            f"No file is known for '{model.key}'. Put it into a model folder and discover again.",
            stage="check",
        )
    path = Path(version.path)
    if _same_file(version, path):
        gguf.check_place(path, roots=settings.NOA_MODEL_ROOTS)
        return version
    metadata = gguf.inspect(path, roots=settings.NOA_MODEL_ROOTS)
    with transaction.atomic():
        return _describe(model, path, metadata)

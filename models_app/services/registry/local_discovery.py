"""Finds GGUF files in the model folders and updates the registry accordingly."""

from __future__ import annotations

import logging
from enum import Enum, auto
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog import capabilities as rules
from models_app.domain.catalog.discovery import ProviderReport
from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.errors import InvalidRequest, LoadFailed, ModelFileError
from models_app.domain.events import EventName
from models_app.domain.keys import ModelKey, cleaned_model_id
from models_app.engines import gguf
from models_app.models import ModelVersion, RegisteredModel
from models_app.services.catalog import lookup, model_files
from models_app.services.events import events
from models_app.services.jobs.jobs import Run
from models_app.services.registry import capabilities
from models_app.services.routes import routing

logger = logging.getLogger(__name__)


class _Outcome(Enum):
    """What one file changed in the registry."""

    NEW = auto()
    CHANGED = auto()
    UNCHANGED = auto()


def discover(*, run: Run) -> ProviderReport:
    """Scan every model folder."""
    report = ProviderReport()
    seen: set[str] = set()
    for root in settings.NOA_MODEL_ROOTS:
        root.mkdir(parents=True, exist_ok=True)
        found = gguf.find_files(root)
        for path, why in found.skipped:
            report.refuse(str(path), why)
        for path in found.files:
            with run.step("read", path.name):
                _take_in(path, root, seen, report)
    _mark_gone(run, report)
    return report


def _take_in(path: Path, root: Path, seen: set[str], report: ProviderReport) -> None:
    try:
        model_id = cleaned_model_id(str(path.relative_to(root).with_suffix("")), "-._")
        if model_id in seen:
            raise ModelFileError(f"Another model folder has a model '{model_id}' already.")
        seen.add(model_id)
        _upsert(path, model_id, report)
        report.found += 1
    except (ModelFileError, InvalidRequest) as error:
        report.refuse(str(path), error.message)


def _upsert(path: Path, model_id: str, report: ProviderReport) -> None:
    key = str(ModelKey(lookup.LOCAL_SLUG, model_id))
    if _is_current(_find(key), path):
        report.unchanged += 1
        return
    metadata = gguf.inspect(path, roots=settings.NOA_MODEL_ROOTS)
    # To read a large file takes minutes: another discovery, here or on another node, can have registered it meanwhile.
    while (outcome := _store(key, model_id, path, metadata)) is None:
        logger.info("%s was registered by another discovery; comparing with it", key)
    if outcome is _Outcome.UNCHANGED:
        report.unchanged += 1
    else:
        (report.new if outcome is _Outcome.NEW else report.changed).append(key)


def _find(key: str) -> RegisteredModel | None:
    return RegisteredModel.objects.filter(key=key).select_related("version").first()


def _is_current(model: RegisteredModel | None, path: Path) -> bool:
    return bool(model and model.gone_at is None and model.version and _is_known(model, path))


def _store(key: str, model_id: str, path: Path, metadata: GgufMetadata) -> _Outcome | None:
    """Write what was read; None, with nothing written, if another discovery registers the model at this moment."""
    model = _find(key)
    if model is not None and (_is_current(model, path) or _is_copy(model, path, metadata)):
        return _Outcome.UNCHANGED
    with transaction.atomic():
        new = model is None
        known = model.version.sha256 if model and model.version else None
        if model is None:
            fields = {"provider": lookup.local_provider(), "model_id": model_id}
            model, new = RegisteredModel.objects.get_or_create(key=key, defaults=fields)
            if not new:
                return None
        was_gone, model.gone_at = model.gone_at is not None, None
        describe(model, path, metadata)
        routing.bump()
        events.publish(
            name=EventName.MODEL_REGISTERED if new else EventName.MODEL_UPDATED,
            subject=key,
            message=_sentence(key, path, new=new, was_gone=was_gone),
            actor="discovery",
            cause="the file is new" if new else "the file changed",
            before=known,
            after=metadata.sha256,
            data={"path": str(path), "sha256": metadata.sha256, "node": settings.NOA_NODE},
        )
    return _Outcome.NEW if new else _Outcome.CHANGED


def _is_known(model: RegisteredModel, path: Path) -> bool:
    """Whether this node's file is unchanged since it was last read."""
    mine, version = model_files.here(model), model.version
    if mine is not None:
        # A file that differed from those of other nodes is read again: theirs can be gone by now.
        same = version is not None and mine.sha256 == version.sha256
        return same and model_files.is_unchanged(mine, path)
    if version is None or not model_files.is_unchanged(version, path):
        return False
    # Recorded before nodes existed, or by another node with the same folder.
    model_files.record(model=model, path=path, sha256=version.sha256, size_bytes=version.size_bytes)
    return True


def _is_copy(model: RegisteredModel, path: Path, metadata: GgufMetadata) -> bool:
    """Whether other nodes have the same file, so that the model is unchanged.

    Raises ModelFileError when another node has a different file.
    """
    other = model_files.conflicting_node(model, metadata)
    is_copy = (
        model.version is not None and model.version.sha256 == metadata.sha256 and model_files.elsewhere(model).exists()
    )
    if other or is_copy:
        _record(model, path, metadata)
    if other:
        raise ModelFileError(
            f"The node '{other}' has another file as '{model.key}'. Rename one of them, or make them equal."
        )
    return is_copy


def _record(model: RegisteredModel, path: Path, metadata: GgufMetadata) -> None:
    model_files.record(model=model, path=path, sha256=metadata.sha256, size_bytes=metadata.size_bytes)


def _sentence(key: str, path: Path, *, new: bool, was_gone: bool) -> str:
    if new:
        return f"{key} was found as {path.name}."
    return f"The file of {key} is available again." if was_gone else f"The file of {key} changed."


def _mark_gone(run: Run, report: ProviderReport) -> None:
    """Record the time at which a file was found missing; its model keeps its entry."""
    rows = RegisteredModel.objects.filter(provider=lookup.local_provider(), gone_at=None).select_related("version")
    mine = model_files.paths_here()
    for model in rows:
        if model.version is None or Path(mine.get(model.pk, model.version.path)).is_file():
            continue
        model_files.forget(model=model)
        if model_files.elsewhere(model).exists():
            continue
        with transaction.atomic():
            routing.bump()
            RegisteredModel.objects.filter(pk=model.pk).update(gone_at=timezone.now())
            events.publish(
                name=EventName.MODEL_GONE,
                subject=model.key,
                message=f"The file of {model.key} is gone: {model.version.path}.",
                actor="discovery",
                cause="the file is missing",
                job_id=run.job.pk,
                data={"path": model.version.path},
            )
        report.gone.append(model.key)


def describe(model: RegisteredModel, path: Path, metadata: GgufMetadata) -> ModelVersion:
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
    _record(model, path, metadata)
    model.name = model.name or metadata.name or model.model_id
    model.context_window = metadata.context_length
    shown = [
        str(capability)
        for capability in rules.infer_from_gguf(
            architecture=metadata.architecture,
            pooling_type=metadata.pooling_type,
            causal=metadata.causal,
            chat_template=metadata.chat_template,
            has_fill_in_middle=metadata.has_fill_in_middle,
        )
    ]
    model.capabilities = shown
    capabilities.record_metadata(model=model, version=version, capabilities=shown)
    # Only these columns: counting, loading and unloading write the others concurrently.
    model.save(
        update_fields=[
            "version",
            "name",
            "context_window",
            "capability_index",
            "proven_index",
            "gone_at",
            "updated_at",
        ]
    )
    return version


def fresh_version(*, model: RegisteredModel) -> ModelVersion:
    """The model's version, read again when its file has changed; raises ModelFileError or LoadFailed."""
    version = model.version
    if version is None:
        raise LoadFailed(
            f"No file is known for '{model.key}'. Put it into a model folder and run the discovery again.",
            stage="check",
        )
    mine = model_files.here(model)
    path = Path(mine.path if mine else version.path)
    if model_files.is_unchanged(mine or version, path) and (not mine or mine.sha256 == version.sha256):
        gguf.check_place(path, roots=settings.NOA_MODEL_ROOTS)
        return version
    metadata = gguf.inspect(path, roots=settings.NOA_MODEL_ROOTS)
    if _is_copy(model, path, metadata):
        return version
    with transaction.atomic():
        return describe(model, path, metadata)

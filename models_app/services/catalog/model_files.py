"""The model files of each node. The registry identifies a model by its file's digest; each node has its own path."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from models_app.domain.catalog.gguf import GgufMetadata
from models_app.models import ModelFile, ModelVersion, RegisteredModel


def here(model: RegisteredModel) -> ModelFile | None:
    """The model's file on this node, as last read."""
    return ModelFile.objects.filter(node=settings.NOA_NODE, model=model).first()


def elsewhere(model: RegisteredModel) -> QuerySet[ModelFile]:
    """The model's files on other nodes."""
    return ModelFile.objects.filter(model=model).exclude(node=settings.NOA_NODE)


def path_here(version: ModelVersion) -> Path:
    """The path of a version's file on this node."""
    mine = here(version.model)
    return Path(mine.path if mine and mine.sha256 == version.sha256 else version.path)


def paths_here() -> dict[int, str]:
    """The paths of this node's files, by their model's id."""
    return dict(ModelFile.objects.filter(node=settings.NOA_NODE).values_list("model_id", "path"))


def record(*, model: RegisteredModel, path: Path, sha256: str, size_bytes: int) -> None:
    """Record that this node has this file."""
    ModelFile.objects.update_or_create(
        node=settings.NOA_NODE,
        model=model,
        defaults={
            "sha256": sha256,
            "path": str(path),
            "size_bytes": size_bytes,
            "file_mtime_ns": path.stat().st_mtime_ns,
        },
    )


def is_unchanged(known: ModelFile | ModelVersion, path: Path) -> bool:
    """Whether the file need not be read again."""
    try:
        status = path.stat()
    except OSError:
        return False
    return known.path == str(path) and known.size_bytes == status.st_size and known.file_mtime_ns == status.st_mtime_ns


def conflicting_node(model: RegisteredModel, metadata: GgufMetadata) -> str:
    """The name of a node that has the model's present file, when this node's file of that name is a different one.

    Empty when this node's file is the model: no other node has the present one, or this node had it and its file was
    changed. Then the others are outdated.
    """
    version = model.version
    if version is None or version.sha256 == metadata.sha256:
        return ""
    mine = here(model)
    if mine is not None and mine.sha256 == version.sha256:
        return ""
    return elsewhere(model).filter(sha256=version.sha256).values_list("node", flat=True).first() or ""


def forget(*, model: RegisteredModel) -> None:
    """Record that this node does not have the file any more."""
    ModelFile.objects.filter(node=settings.NOA_NODE, model=model).delete()

"""A loaded model whose runner is part of the test."""

from __future__ import annotations

from models_app.domain.states import InstanceState, ModelStatus
from models_app.models import Instance, ModelVersion, RegisteredModel
from models_app.services.catalog import lookup

KEY = "llama.cpp:tiny"
CAPABILITIES = ["text_generation", "chat_completion", "streaming", "json_mode"]


def registered_model(model_id: str = "tiny") -> RegisteredModel:
    model = RegisteredModel(
        provider=lookup.local_provider(),
        model_id=model_id,
        key=f"llama.cpp:{model_id}",
        context_window=4096,
    )
    model.capabilities = CAPABILITIES
    model.save()
    return with_version(model, "a" * 64)


def with_version(model: RegisteredModel, sha256: str) -> RegisteredModel:
    model.version = ModelVersion.objects.create(
        model=model, sha256=sha256, path=f"/{sha256}.gguf", size_bytes=1, file_mtime_ns=1
    )
    model.save()
    return model


def loaded_model(socket: str, *, context_tokens: int = 2048) -> RegisteredModel:
    model = registered_model()
    Instance.objects.create(
        model=model,
        version=model.version,
        node="local",
        state=InstanceState.READY,
        socket=socket,
        context_tokens=context_tokens,
        slots=2,
    )
    RegisteredModel.objects.filter(pk=model.pk).update(status=ModelStatus.LOADED)
    return model

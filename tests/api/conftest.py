"""Clients with keys, and rows that stand for models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from models_app.domain.scopes import Scope
from models_app.domain.states import ModelStatus
from models_app.models import ModelVersion, RegisteredModel
from models_app.services.api_keys import keys
from models_app.services.catalog import activity, lookup

# Shared: each new client builds the middleware again, which scans all static files.
_CLIENT = Client()


class Api:
    """Sends requests to the management API with one key."""

    def __init__(self, key: str | None) -> None:
        self._client = _CLIENT
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def get(self, path: str, **headers: str) -> Any:
        return self._client.get(f"/api/v1{path}", headers=self._headers | headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._client.post(
            f"/api/v1{path}",
            body if isinstance(body, bytes) else (body or {}),
            content_type="application/json",
            headers=self._headers | headers,
        )

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self._client.patch(
            f"/api/v1{path}",
            body,
            content_type="application/json",
            headers=self._headers | headers,
        )

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self._client.put(
            f"/api/v1{path}",
            body,
            content_type="application/json",
            headers=self._headers | headers,
        )

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """A request with any method that changes something."""
        headers = self._headers
        return getattr(self._client, method)(
            f"/api/v1{path}", body or {}, content_type="application/json", headers=headers
        )

    def delete(self, path: str, **headers: str) -> Any:
        return self._client.delete(f"/api/v1{path}", headers=self._headers | headers)


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    """Resets the read counters, which are in memory: the end of a test does not undo them."""
    yield
    activity._reads.take()
    activity._reads.written()


@pytest.fixture
def api(db: None) -> Callable[..., Api]:
    """`api("read")`: a client whose key has these scopes; `api()`: a client without a key."""

    def make(*scopes: str) -> Api:
        if not scopes:
            return Api(None)
        return Api(keys.create(name="test", scopes=scopes, actor="test")[1])

    return make


@pytest.fixture
def admin(api: Callable[..., Api]) -> Api:
    return api(Scope.ADMIN)


MakeModel = Callable[..., RegisteredModel]


@pytest.fixture
def make_model(db: None) -> MakeModel:
    """A registered local model without a file."""

    def make(model_id: str = "tiny", status: str = ModelStatus.AVAILABLE) -> RegisteredModel:
        model = RegisteredModel.objects.create(
            provider=lookup.local_provider(),
            model_id=model_id,
            key=f"llama.cpp:{model_id}",
            name=model_id.title(),
            status=status,
            context_window=2048,
        )
        model.capabilities = ["text_generation", "chat_completion"]
        model.version = ModelVersion.objects.create(
            model=model,
            sha256="0" * 64,
            path=f"/models/{model_id}.gguf",
            size_bytes=1000,
            file_mtime_ns=1,
            quantization="Q8_0",
        )
        model.save()
        return model

    return make

"""Operations in the console are audited like those of the API."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from models_app.models import ApiKey, AuditEntry, Event, Job
from models_app.services.api_keys import keys

CONFIRMED = {"_form_submitted": "True"}


def confirm(client: Client, action: str, *args: Any, **fields: Any) -> Any:
    address = reverse(f"admin:models_app_{action}", args=args)
    return client.post(address, CONFIRMED | fields)


def test_a_load_is_written_down_with_its_job(console: Client, make_model: Any, queued: list[Job]) -> None:
    model = make_model()
    fields = {"n_ctx": "4096", "slots": "", "n_gpu_layers": ""}
    confirm(console, "registeredmodel_load_model", model.pk, **fields)
    entry = AuditEntry.objects.get()
    assert (entry.channel, entry.actor, entry.action) == ("console", "user:root", "load_model")
    assert (entry.subject, entry.status, entry.job_id) == (model.key, 202, queued[0].pk)
    assert entry.arguments == {"options": {"n_ctx": 4096}}
    assert (entry.client, entry.method) == ("127.0.0.1", "POST")


def test_a_refused_unload_is_written_down(console: Client, make_model: Any, queued: list[Job]) -> None:
    model = make_model()
    confirm(console, "registeredmodel_unload_model", model.pk)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject) == ("unload_model", model.key)
    assert (entry.status, entry.error_code) == (409, "model_not_loaded")


def test_a_dialog_that_is_only_looked_at_is_not(console: Client, make_model: Any) -> None:
    console.get(reverse("admin:models_app_registeredmodel_load_model", args=[make_model().pk]))
    assert not AuditEntry.objects.exists()


def test_a_new_key_is_written_down_without_its_text(console: Client) -> None:
    address = reverse("admin:models_app_apikey_add")
    form = {"name": "website", "scopes": ["infer"], "expires_at_0": "", "expires_at_1": ""}
    page = console.post(address, form).content.decode()
    key = ApiKey.objects.get()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject, entry.status) == ("create_api_key", key.key_id, 201)
    assert entry.arguments == {"name": "website", "scopes": ["infer"], "limits": {}}
    assert f"noa_{key.key_id}_" in page
    assert f"noa_{key.key_id}_" not in str(AuditEntry.objects.values())


def test_a_revoked_key_is_written_down_and_told(console: Client) -> None:
    key, _ = keys.create(name="website", scopes=["infer"], actor="test")
    confirm(console, "apikey_revoke_key", key.pk)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject, entry.status) == ("revoke_api_key", key.key_id, 204)
    assert Event.objects.get(name="key-revoked").actor == "user:root"

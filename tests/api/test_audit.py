"""Every change is in the audit log, refused ones included."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.test import Client

from models_app.domain.records.refusals import Sampler
from models_app.domain.scopes import Scope
from models_app.domain.states import JobKind, JobState
from models_app.models import AuditEntry, Job, RegisteredModel
from models_app.services.coordination import audit
from models_app.services.jobs import jobs, waiting
from models_app.tasks import queueing
from tests.api import walking
from tests.api.conftest import Api
from tests.api.walking import Operation

MakeModel = Callable[..., RegisteredModel]
CHANGING = [one for one in walking.operations() if one.method != "get"]
every_operation = pytest.mark.parametrize("operation", CHANGING, ids=str)
_CLIENT = Client()


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


def send(operation: Operation, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Any:
    method = getattr(_CLIENT, operation.method)
    return method(operation.path, data=body, content_type="application/json", headers=headers or {})


def last() -> AuditEntry:
    return AuditEntry.objects.latest("id")


@every_operation
def test_a_refused_caller_is_written_down(db: None, operation: Operation) -> None:
    answer = send(operation, headers={"X-Request-ID": "r-1"})
    entry = AuditEntry.objects.get()
    assert (entry.status, entry.error_code) == (401, answer.json()["error"]["code"])
    assert (entry.actor, entry.channel, entry.arguments) == ("", "api", {})
    assert (entry.method, entry.path) == (operation.method.upper(), operation.path)
    assert (entry.request_id, entry.client) == ("r-1", "127.0.0.1")
    assert entry.action


@every_operation
def test_a_caller_without_the_scope_is_written_down(api: Callable[..., Api], operation: Operation) -> None:
    send(operation, headers=api(Scope.INFER)._headers)
    entry = AuditEntry.objects.get()
    assert (entry.status, entry.actor, entry.error_code) == (403, "key:test", "permission_denied")


@every_operation
def test_a_body_that_cannot_be_read_is_written_down(admin: Api, operation: Operation) -> None:
    answer = send(operation, b"{", headers=admin._headers)
    if operation.method == "delete":
        return
    assert (answer.status_code, last().status, last().error_code) == (400, 400, "invalid_json")


@every_operation
def test_no_secret_is_written_down(admin: Api, operation: Operation) -> None:
    body = (
        b'{"key": "llama.cpp:a", "secret": "CANARY", "a": [{"api_key": "CANARY", "Authorization": "Bearer CANARY"}],'
        b' "base_url": "https://user:CANARY@example.org/?key=CANARY", "noa_0123456789ab_CANARY": 1}'
    )
    answer = send(operation, body, headers=admin._headers)
    assert answer.status_code < 500
    assert "CANARY" not in str(list(AuditEntry.objects.values()))
    assert "CANARY" not in str(list(Job.objects.values()))


def test_every_operation_is_named_as_in_the_document(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_anonymous", Sampler(len(CHANGING), 1))
    for operation in CHANGING:
        send(operation)
    actions = list(AuditEntry.objects.values_list("action", flat=True))
    assert len(actions) == len(CHANGING) == len(set(actions))


def test_reading_is_not_written_down(admin: Api) -> None:
    admin.get("/jobs")
    admin.get("/models/llama.cpp:nothing")
    assert not AuditEntry.objects.exists()


def test_a_job_is_found_again(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    job = admin.post("/models/load", {"key": "llama.cpp:a", "options": {"slots": 2}}).json()
    entry = last()
    assert (entry.action, entry.subject, entry.status) == ("load_model", "llama.cpp:a", 202)
    assert str(entry.job_id) == job["id"]
    assert entry.arguments == {"key": "llama.cpp:a", "options": {"slots": 2}}


def test_a_job_that_failed_while_its_caller_waited_is_found_again(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    job, _ = jobs.create(
        kind=JobKind.LOAD,
        subject="llama.cpp:a",
        arguments={"options": {}},
        actor="x",
    )

    def fail(*args: object, **kwargs: object) -> Job:
        jobs.end(job_id=str(job.pk), state=JobState.FAILED, error_code="x", error_message="X.")
        return jobs.get(job_id=job.pk)

    with mock.patch.object(waiting, "wait", fail):
        admin.post("/models/load?wait=1", {"key": "llama.cpp:a"})
    assert (last().status, last().error_code, last().job_id) == (409, "x", job.pk)


def test_a_cancel_that_went_well_has_no_error_of_its_own(admin: Api) -> None:
    job, _ = jobs.create(kind=JobKind.DISCOVER, subject="x", arguments={}, actor="x")
    assert admin.post(f"/jobs/{job.pk}/cancel").json()["error"]["code"] == "cancelled"
    assert (last().action, last().status, last().error_code) == ("cancel_job", 200, "")


@pytest.mark.parametrize(
    ("path", "body", "subject"),
    [
        ("/models/load", {"provider": "llama.cpp", "model": "a"}, "llama.cpp:a"),
        ("/routes", {"name": "fast"}, "fast"),
        ("/routes/current/rollback", {}, "current"),
    ],
)
def test_it_says_what_a_call_was_about(admin: Api, path: str, body: dict[str, Any], subject: str) -> None:
    admin.post(path, body)
    assert last().subject == subject


def test_a_new_key_is_written_down_by_its_id(admin: Api) -> None:
    made = admin.post("/api-keys", {"name": "ci", "scopes": ["infer"]}).json()
    entry = last()
    assert (entry.subject, entry.status) == (made["key_id"], 201)
    assert entry.arguments == {"name": "ci", "scopes": ["infer"]}
    assert made["key"].rpartition("_")[2] not in str(AuditEntry.objects.values())


def test_a_large_body_is_written_down_by_its_size(admin: Api) -> None:
    admin.post("/models/load", b'{"key": "' + b"a" * 100_000 + b'"}')
    assert last().arguments["left_out"] == "too large"


def test_an_answer_is_not_lost_when_it_cannot_be_written_down(admin: Api, caplog: pytest.LogCaptureFixture) -> None:
    broken = mock.patch.object(AuditEntry.objects, "create", side_effect=DatabaseError("full"))
    with broken, caplog.at_level(logging.ERROR):
        assert admin.post("/routes", {"name": "fast"}).status_code == 201
    assert "the audit row of create_route by key:test was not written" in caplog.text


def test_texts_of_any_kind_are_written_down(db: None) -> None:
    audit.record(
        channel=audit.Channel.API,
        actor="a" * 1000,
        action="x\0y",
        subject="\ud800" * 1000,
        path="/" + "a" * 5000,
        status=400,
        arguments={"n": "\0"},
    )
    entry = last()
    assert (len(entry.actor), entry.action, len(entry.subject)) == (150, "x\ufffdy", 255)


def test_the_log_is_listed_and_searched(admin: Api) -> None:
    for name in ("a", "b", "c"):
        admin.post("/routes", {"name": name})
    admin.post("/models/load", {"key": "llama.cpp:nothing"})
    found = admin.get("/audit").json()["entries"]
    assert [entry["action"] for entry in found] == ["load_model", *["create_route"] * 3]
    assert [entry["subject"] for entry in found[1:]] == ["c", "b", "a"]
    assert len(admin.get("/audit?action=create_route&subject=b").json()["entries"]) == 1
    assert admin.get("/audit?actor=key:other").json()["entries"] == []
    assert admin.get("/audit?since=2999-01-01T00:00:00Z").json()["entries"] == []
    page = admin.get("/audit?limit=3").json()
    assert len(page["entries"]) == 3
    rest = admin.get(page["next"].partition("/api/v1")[2]).json()
    assert (len(rest["entries"]), rest["next"]) == (1, None)


def test_the_command_line_is_written_down(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("api_key", "ci", "--scope", "read")
    entry = AuditEntry.objects.get()
    assert (entry.channel, entry.actor, entry.action) == (
        "command",
        "command line",
        "create_api_key",
    )
    assert entry.arguments == {"name": "ci", "scopes": ["read"]}
    assert capsys.readouterr().out.strip().rpartition("_")[2] not in str(entry.arguments)

"""The access log."""

from __future__ import annotations

import pytest

from models_app.domain.access import AccessRecord
from models_app.models import AccessLog
from models_app.services import access

pytestmark = pytest.mark.django_db


def record(request_id: str, **changes: object) -> AccessRecord:
    return AccessRecord(request_id, 1_700_000_000.5, "chat/completions", status=200, **changes)  # type: ignore[arg-type]


def test_it_stores_a_batch() -> None:
    access.store([record("a", ttft_ms=1.5, prompt_tokens=3), record("b")])
    row = AccessLog.objects.get(request_id="a")
    assert (row.ttft_ms, row.prompt_tokens, row.completion_tokens) == (1.5, 3, None)
    assert row.started_at.timestamp() == 1_700_000_000.5
    assert AccessLog.objects.count() == 2


def test_a_batch_that_comes_twice_is_stored_once() -> None:
    batch = [record("a"), record("b")]
    access.store(batch)
    access.store(batch)
    assert AccessLog.objects.count() == 2


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 10_000, "<script>"])
def test_no_text_can_spoil_a_batch(text: str) -> None:
    access.store([record("a", requested_model=text), record("b")])
    assert AccessLog.objects.count() == 2
    assert len(AccessLog.objects.get(request_id="a").requested_model) <= 255

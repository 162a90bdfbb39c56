"""The gateway stores the texts of the requests that a rule has chosen, and no others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic.texts import CapturedText, TextRule
from models_app.gateway.recording.texts import Captured, Texts
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import serve


def kept_by(rules: dict[str, TextRule], sockets: Path, body: dict[str, object]) -> list[CapturedText]:
    kept: list[CapturedText] = []
    texts = Texts(kept.extend)
    with FakeUpstream(str(sockets / "texts.sock")) as upstream:
        with serve(upstream.path, texts=texts) as served:
            served.source.current = dataclasses.replace(served.source.current, text_rules=rules)
            assert served.post(body).status == 200
            assert len(served.records()) == 1
        texts.close()
    return kept


def test_without_a_rule_nothing_is_kept(sockets: Path) -> None:
    assert kept_by({}, sockets, {"model": "current"}) == []
    assert kept_by({"route:other": TextRule(1.0, 100, 1)}, sockets, {"model": "current"}) == []


def test_a_chosen_request_is_kept_with_its_answer(sockets: Path) -> None:
    (text,) = kept_by({"route:current": TextRule(1.0, 10_000, 3)}, sockets, {"model": "current"})
    assert b'"model": "current"' in text.prompt
    assert b"choices" in text.answer
    assert (text.route, text.days, text.is_cut) == ("current", 3, False)
    assert "choices" not in repr(text)


def test_a_stream_is_kept_as_it_passed_and_cut(sockets: Path) -> None:
    (text,) = kept_by({"route:current": TextRule(1.0, 100, 3)}, sockets, {"model": "current", "stream": True})
    assert text.answer.startswith(b"data: ")
    assert (len(text.answer), text.is_cut) == (100, True)


def test_texts_that_cannot_be_stored_are_counted_and_not_logged(caplog: object) -> None:
    def away(texts: list[CapturedText]) -> None:
        raise OSError("secret words")

    texts = Texts(away)
    for _ in range(3):
        texts.keep(AccessRecord("r", 1.0, ""), Captured(TextRule(1.0, 100, 1), b"secret"))
    texts.close()
    assert texts.dropped == 3
    assert "secret" not in getattr(caplog, "text", "")

"""noa load --estimate, pin, unpin and history."""

from __future__ import annotations

from tests.cli.conftest import Noa
from tests.cli.fake_noa import FakeNoa, model

EMBER = "llama.cpp:ember"
MIB = 1 << 20
ESTIMATE = {
    "key": EMBER,
    "verdict": "would_evict",
    "why": "",
    "options": {},
    "context_tokens": 2048,
    "needs_bytes": 100 * MIB,
    "needs_gpu_bytes": 0,
    "free_bytes": 50 * MIB,
    "free_after_evicting_bytes": 150 * MIB,
    "others": [],
    "largest_context": None,
    "eta_seconds": 1.5,
    "measured": True,
    "would_evict": [
        {
            "key": "llama.cpp:tide",
            "verdict": "goes",
            "why": "has not been used for 60 s",
            "bytes": 100 * MIB,
            "idle_seconds": 60.0,
        }
    ],
}


def test_an_estimate_names_who_would_make_room(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER)]
    fake.answers["/api/v1/models/load"] = (200, ESTIMATE)
    ended = noa("load", "ember", "--ctx", "2048", "--fit", "--estimate")
    assert ended.code == 0, ended.err
    assert fake.bodies("/api/v1/models/load") == [
        {"key": EMBER, "options": {"n_ctx": 2048}, "fit": True, "dry_run": True}
    ]
    assert ["verdict", "would evict"] in ended.rows
    assert ["unloads llama.cpp:tide", "has not been used for 60 s"] in ended.rows


def test_a_pin_is_a_change_of_the_model(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER)]
    assert noa("pin", "ember").out == f"{EMBER} is pinned.\n"
    assert noa("unpin", "ember").code == 0
    assert fake.bodies(f"/api/v1/models/{EMBER}") == [{"pinned": True}, {"pinned": False}]


def test_the_history_is_told_in_sentences(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER)]
    entry = {"at": "2026-11-24T14:03:00Z", "sentence": f"{EMBER} was unloaded to make room."}
    fake.answers[f"/api/v1/models/{EMBER}/history"] = (200, {"history": [entry], "next": None})
    assert noa("history", "ember").rows == [[entry["at"], entry["sentence"]]]

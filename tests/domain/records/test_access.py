from __future__ import annotations

from models_app.domain.records.access import AccessRecord


def test_the_public_id_is_the_clients_own_if_it_sent_one() -> None:
    assert AccessRecord("made", 1.0, "embeddings").public_id == "made"
    assert AccessRecord("made", 1.0, "embeddings", client_request_id="own").public_id == "own"

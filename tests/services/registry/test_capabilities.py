"""Evidence of capabilities: recording and assessment."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.models import CapabilityEvidence, Event, RegisteredModel
from models_app.services.registry import capabilities
from models_app.services.registry.capabilities import Assessment, Finding
from models_app.services.routes import routing
from tests.services.served import registered_model, with_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(db: None) -> RegisteredModel:
    return registered_model()


def of(model: RegisteredModel, capability: Capability) -> Assessment:
    return next(one for one in capabilities.assess(model=model) if one.capability == capability)


def probe(model: RegisteredModel, **verdicts: str) -> dict[str, dict[str, str]]:
    return capabilities.record_probed(
        model=model,
        version=model.version,
        findings=[
            Finding(Capability(name), Verdict(verdict), "Seen.", request={"a": 1}, engine="e")
            for name, verdict in verdicts.items()
        ],
        actor="test",
        job_id=uuid.uuid4(),
    )


def changes() -> list[tuple[Any, Any]]:
    events = Event.objects.filter(name="capabilities-changed").order_by("pk")
    return [(event.before, event.after) for event in events]


def note_metadata(model: RegisteredModel, *words: str) -> None:
    assert model.version is not None
    capabilities.record_metadata(model=model, version=model.version, capabilities=words)


def test_every_capability_is_assessed_without_evidence_too(model: RegisteredModel) -> None:
    found = capabilities.assess(model=model)
    assert [one.capability for one in found] == list(Capability)
    assert {one.capability for one in found if one.supported} == set(model.capabilities)
    assert not any(one.proven or one.evidence for one in found)


def test_metadata_speaks_for_and_against(model: RegisteredModel) -> None:
    note_metadata(model, "text_generation")
    assert of(model, Capability.TEXT_GENERATION).evidence[0].verdict == "supported"
    assert of(model, Capability.EMBEDDINGS).evidence[0].verdict == "unsupported"
    assert of(model, Capability.VISION).evidence == []
    note_metadata(model, "text_generation", "embeddings")
    assert [row.verdict for row in of(model, Capability.EMBEDDINGS).evidence] == ["supported"]


def test_a_declaration_replaces_the_one_before(model: RegisteredModel) -> None:
    capabilities.record_declared(model=model, capabilities=["vision", "embeddings"], detail="By hand.")
    capabilities.record_declared(model=model, capabilities=["vision"])
    rows = CapabilityEvidence.objects.filter(source="declared")
    assert [(row.capability, row.verdict) for row in rows] == [("vision", "supported")]
    capabilities.record_declared(model=model, capabilities=[])
    assert not rows.all().exists()


def test_a_probe_proves(model: RegisteredModel) -> None:
    before = routing.revision()
    probe(model, chat_completion="supported", embeddings="unsupported")
    one = of(model, Capability.CHAT_COMPLETION)
    assert (one.supported, one.proven) == (True, True)
    model.refresh_from_db()
    assert model.proven_index == ",chat_completion,"
    assert routing.revision() == before + 1
    assert changes() == []


def test_a_verdict_that_changes_is_an_event(model: RegisteredModel) -> None:
    probe(model, chat_completion="supported")
    assert probe(model, chat_completion="unsupported") == {
        "chat_completion": {"before": "supported", "after": "unsupported"}
    }
    assert changes() == [({"chat_completion": "supported"}, {"chat_completion": "unsupported"})]
    assert not of(model, Capability.CHAT_COMPLETION).supported
    model.refresh_from_db()
    assert model.proven_index == ""


def test_a_probe_that_contradicts_a_claim_is_an_event(model: RegisteredModel) -> None:
    capabilities.record_declared(model=model, capabilities=["vision"])
    note_metadata(model, "chat_completion")
    probe(model, vision="unsupported", embeddings="supported", chat_completion="supported")
    assert changes() == [
        (
            {"vision": "supported", "embeddings": "unsupported"},
            {"vision": "unsupported", "embeddings": "supported"},
        )
    ]
    assert probe(model, vision="unsupported") == {}


def test_what_could_not_be_told_takes_nothing_back(model: RegisteredModel) -> None:
    probe(model, chat_completion="supported")
    probe(model, chat_completion="inconclusive", json_mode="inconclusive")
    assert of(model, Capability.CHAT_COMPLETION).proven
    assert of(model, Capability.JSON_MODE).evidence[0].verdict == "inconclusive"
    assert of(model, Capability.JSON_MODE).supported
    assert changes() == []


def test_another_version_is_not_proven_by_the_probe_of_the_first(model: RegisteredModel) -> None:
    probe(model, chat_completion="supported", embeddings="supported")
    with_version(model, "b" * 64)
    note_metadata(model, "chat_completion")
    one = of(model, Capability.CHAT_COMPLETION)
    assert (one.supported, one.proven) == (True, False)
    assert not of(model, Capability.EMBEDDINGS).supported
    assert [capabilities.is_stale(row, model) for row in one.evidence] == [False, True]
    assert RegisteredModel.objects.get(pk=model.pk).proven_index == ""
    probe(model, chat_completion="inconclusive")
    assert not of(model, Capability.CHAT_COMPLETION).proven

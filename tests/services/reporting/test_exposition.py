"""The page for Prometheus: correct, bounded and without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from models_app.domain.records.access import AccessRecord, Origin
from models_app.services.access_log import store
from models_app.services.reporting import exposition
from models_app.services.rollups import live_metrics, rollups
from tests.markdown import ROOT, page
from tests.services.served import KEY, loaded_model

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

pytestmark = pytest.mark.django_db
ORIGIN = Origin("0123456789abcdef", "n", 1, 1_700_000_000.0, recorded=5, dropped=1)


def record(number: int, **changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {"model_key": KEY, "route": "current", "status": 200}
    fields |= {"duration_ms": 100.0, "key_id": "secretkeyid"}
    return AccessRecord(f"r{number}", timezone.now().timestamp(), "chat/completions", **fields | changes)


def samples() -> Samples:
    text = exposition.page().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float:
    return samples()[name, frozenset(labels.items())]


def test_counters_tell_what_was_served() -> None:
    loaded_model("/run/x")
    store.store(
        [
            record(1, prompt_tokens=7, completion_tokens=11, cost_usd=0.5, ttft_ms=30.0, duration_ms=1030.0),
            record(2, status=502, error_code="runner_died", duration_ms=3_000.0),
            record(3, model_key="", route="", status=401, error_code="invalid_api_key"),
        ],
        ORIGIN,
    )
    pair = {"model": KEY, "route": "current"}
    assert value("noa_requests_total", **pair) == 2
    assert value("noa_requests_total", model="", route="") == 1
    assert value("noa_request_errors_total", **pair) == 1
    assert value("noa_completion_tokens_total", **pair) == 11
    assert value("noa_cost_usd_total", **pair) == 0.5
    genai = {"gen_ai_provider_name": "llama.cpp", "gen_ai_request_model": KEY, "noa_route": "current"}
    name = "gen_ai_server_request_duration_seconds"
    assert value(f"{name}_bucket", le="1.28", **genai) == 1
    assert value(f"{name}_bucket", le="+Inf", **genai) == value(f"{name}_count", **genai) == 2
    assert value(f"{name}_sum", **genai) == pytest.approx(4.03)
    assert value("gen_ai_server_time_to_first_token_seconds_bucket", le="0.04", **genai) == 1
    assert value("gen_ai_server_time_per_output_token_seconds_sum", **genai) == pytest.approx(1.0)
    assert value("noa_access_log_stored_total") == 3
    assert value("noa_access_log_dropped_total") == 1
    assert value("noa_instances", model=KEY, node="local", state="ready") == 1
    assert value("noa_database_up") == 1


def test_it_names_no_key_and_no_client() -> None:
    store.store([record(1, client="10.1.2.3", client_request_id="mine", requested_model="asked")])
    text = exposition.page().decode()
    for secret in ("secretkeyid", "10.1.2.3", "mine", "asked"):
        assert secret not in text


def test_the_number_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_LABELS", 3)
    store.store([record(n, model_key=f"openai:m{n % 10}") for n in range(35)])
    found = {
        dict(labels)["model"]: count for (name, labels), count in samples().items() if name == "noa_requests_total"
    }
    assert found == {"openai:m0": 4, "openai:m1": 4, "openai:m2": 4, "other": 23}


def test_a_database_that_is_away_is_said_and_nothing_more() -> None:
    with (
        mock.patch.object(rollups, "merge", side_effect=OperationalError),
        mock.patch.object(live_metrics, "ever", side_effect=OperationalError),
    ):
        found = samples()
    assert found["noa_database_up", frozenset()] == 0
    assert ("noa_access_log_spool_bytes", frozenset()) in found


def exposed() -> set[str]:
    """Every metric's names, as queries use them."""
    loaded_model("/run/x")
    store.store([record(1, ttft_ms=1.0, completion_tokens=5)], ORIGIN)
    names = {name for name, _ in samples()}
    families = {f.name for f in text_string_to_metric_families(exposition.page().decode())}
    # A metric without samples has only its name.
    return names | families


def queries(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("expr", "query") and isinstance(one, str):
                yield one
            else:
                yield from queries(one)
    elif isinstance(value, list):
        for one in value:
            yield from queries(one)


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    asked = {name for text in queries(dashboard) for name in re.findall(r"\b(?:noa|gen_ai)_[a-z_]+", text)}
    labels = {"noa_route", "gen_ai_request_model", "gen_ai_provider_name"}
    assert len(asked - labels) > 10
    assert asked - labels <= exposed()


def test_every_metric_is_documented_and_nothing_else() -> None:
    text = page("docs/metrics.md").section("Prometheus")
    documented = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    families = {family.name for family in text_string_to_metric_families(exposition.page().decode())}
    # Counters are named with the suffix that queries need.
    assert {name.removesuffix("_total") for name in documented} == families

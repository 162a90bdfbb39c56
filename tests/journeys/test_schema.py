"""Requests generated from the OpenAPI document, valid and invalid, against a whole server.

`make fuzz` sends five times as much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error, positive_data_acceptance

from tests.journeys.server import ROOT, NoaServer

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
# A request can wait for a job, or for a model's answer.
SECONDS = 60.0


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """A separate server: the requests can delete all its data."""
    running = NoaServer(tmp_path_factory.mktemp("fuzzed") / "data").start()
    yield running
    running.stop()


# The snapshot, which `make lint` compares with the code.
schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")
# Rejected everywhere, as no database stores it, which a schema cannot express.
schema.config.generation.allow_x00 = False


# Refusals that no schema can express, because they depend on other fields or on stored data.
BEYOND_A_SCHEMA = {
    "address_not_allowed",
    "capability_not_supported",
    "context_length_exceeded",
    "invalid_cursor",
    "invalid_expiry",
    "invalid_network",
    "invalid_period",
    "invalid_runs",
    "invalid_schema",
    "invalid_secret",
    "invalid_text_rule",
    "invalid_url",
    "invalid_weights",
    "missing_base_url",
    "named_twice",
    "number_too_large",
    "options_not_for_remote",
    "secret_needed",
    "template_error",
    "token_out_of_range",
    "tools_not_supported",
    "unknown_target",
    "unsupported_content",
    "unsupported_parameter",
}


def refuses_only_what_no_schema_can_express(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: Case[Any]
) -> bool | None:
    """In place of schemathesis's own check, which requires that every valid body is accepted."""
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if is_positive and response.status_code == 400:
        error = response.json()["error"]
        assert error["code"] in BEYOND_A_SCHEMA, f"{error['code']}: {error['message']}"
    return None


def fails_only_for_want_of_a_model(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: Case[Any]
) -> bool | None:
    """In place of schemathesis's own check: the search creates routes without a target, and uses them."""
    if response.status_code == 503:
        assert response.json()["error"]["code"] == "route_without_model", response.text
    else:
        assert response.status_code < 500, response.text
    return None


@pytest.mark.journey
@pytest.mark.timeout(1200)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Deterministic: a lucky find must not block unrelated work.
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    # The server is shared by the examples on purpose.
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
def test_every_answer_is_what_the_document_says(case: Case[Any], fuzzed: NoaServer) -> None:
    case.call_and_validate(
        base_url=fuzzed.url,
        headers={"Authorization": f"Bearer {fuzzed.api_key}", "Accept": "application/json"},
        additional_checks=[refuses_only_what_no_schema_can_express, fails_only_for_want_of_a_model],
        excluded_checks=[positive_data_acceptance, not_a_server_error],
        timeout=SECONDS,
    )

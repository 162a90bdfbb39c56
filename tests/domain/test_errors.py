"""The hierarchy of errors."""

from __future__ import annotations

import pytest

from models_app.domain import errors
from models_app.domain.errors import LoadFailed, NoaError, ProviderRefused, RateLimited


def every_error() -> list[type[NoaError]]:
    found = [NoaError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawing = errors.__doc__ or ""
    for kind in every_error():
        line = next(line for line in drawing.splitlines() if f"{kind.__name__} " in line)
        assert f"{kind.http_status} {kind.default_code}" in line


def test_the_body_has_one_shape() -> None:
    error = LoadFailed("It failed.", stage="load")
    assert error.body("r1") == {
        "error": {
            "message": "It failed.",
            "type": "server_error",
            "code": "load_failed",
            "param": None,
            "retryable": False,
            "details": {"stage": "load"},
            "request_id": "r1",
        }
    }


def test_an_error_without_details_has_none_in_its_body() -> None:
    error = NoaError("It failed.")
    assert str(error) == error.message == "It failed."
    assert (error.code, error.param, error.details, error.retry_after) == ("internal_error", None, {}, None)
    assert error.body() == {
        "error": {
            "message": "It failed.",
            "type": "server_error",
            "code": "internal_error",
            "param": None,
            "retryable": False,
        }
    }


def test_an_error_keeps_what_it_is_given() -> None:
    error = RateLimited("Wait.", code="limit", param="limits", details={"a": 1}, retry_after=7)
    assert (error.code, error.param, error.details, error.retry_after) == ("limit", "limits", {"a": 1}, 7)
    assert error.body("r1")["error"] == {
        "message": "Wait.",
        "type": "rate_limit_error",
        "code": "limit",
        "param": "limits",
        "retryable": True,
        "details": {"a": 1},
        "request_id": "r1",
    }


def test_a_failed_load_has_its_stage() -> None:
    error = LoadFailed("It failed.", stage="warm_up", code="out_of_memory")
    assert (str(error), error.stage, error.code) == ("It failed.", "warm_up", "out_of_memory")
    assert error.details == {"stage": "warm_up"}


@pytest.mark.parametrize("status", [400, 403, 404, 408, 409, 413, 422, 425, 429])
def test_the_refusal_of_a_provider_has_its_status(status: int) -> None:
    error = ProviderRefused("No.", status=status, code="refused", retry_after=3)
    assert (error.http_status, error.error_type) == (status, "invalid_request_error")
    assert (str(error), error.code, error.retry_after) == ("No.", "refused", 3)
    assert error.retryable is (status in (408, 409, 425))

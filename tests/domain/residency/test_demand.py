"""How long a request waits for a model, and the forecasts that it gets."""

from __future__ import annotations

from itertools import product

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.residency import demand
from models_app.domain.residency.demand import EVERYTHING, NOTHING, ColdModel, Outlook, Permission

LIMIT = 120.0


def test_a_permission_joins_right_by_right() -> None:
    for load, evict, other_load, other_evict in product([True, False], repeat=4):
        one, other = Permission(load, evict), Permission(other_load, other_evict)
        assert one & other == Permission(load and other_load, evict and other_evict)
        assert one | other == Permission(load or other_load, evict or other_evict)
    assert Permission(load=True, evict=True) == EVERYTHING == Permission()
    assert Permission(load=False, evict=False) == NOTHING


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, LIMIT),
        ({b"x-noa-wait": b"0"}, 0.0),
        ({b"x-noa-wait": b"7"}, 7.0),
        ({b"x-noa-wait": b" 2.5 "}, 2.5),
        ({b"x-noa-wait": b"120"}, LIMIT),
        ({b"x-noa-wait": b"999999"}, LIMIT),
        ({b"prefer": b"wait=7"}, 7.0),
        ({b"prefer": b"respond-async, wait=0.125; foo"}, 0.125),
        ({b"prefer": b"wait=999"}, LIMIT),
        # NOA's own header comes first.
        ({b"x-noa-wait": b"3", b"prefer": b"wait=9"}, 3.0),
        # A preference that is not understood is ignored.
        ({b"prefer": b"wait=soon"}, LIMIT),
        ({b"prefer": b"await=7"}, LIMIT),
        ({b"prefer": b"wait=7s"}, LIMIT),
        ({b"prefer": b"wait=1234567"}, LIMIT),
        ({b"prefer": b""}, LIMIT),
    ],
)
def test_a_request_waits_as_long_as_its_headers_say_up_to_the_limit(
    headers: dict[bytes, bytes], seconds: float
) -> None:
    assert demand.patience(headers, LIMIT) == seconds


@pytest.mark.parametrize(
    "text", [b"", b"-1", b"1e3", b"nan", b"inf", b"7 s", b"1234567", b"1.2345", b"0x10", "٣".encode()]
)
def test_a_wait_that_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        demand.patience({b"x-noa-wait": text}, LIMIT)
    assert refused.value.param == "X-NOA-Wait"
    assert "'X-NOA-Wait'" in refused.value.message


@pytest.mark.parametrize(
    ("due", "seconds"),
    [(None, demand.UNKNOWN_RETRY_AFTER), (1000.0, 1), (900.0, 1), (1000.5, 1), (1001.0, 1), (1001.1, 2), (1060.0, 60)],
)
def test_clients_retry_after_whole_seconds_not_before_the_model_is_ready(due: float | None, seconds: int) -> None:
    assert demand.retry_after(due, now=1000.0) == seconds


@pytest.mark.parametrize(
    ("history", "elapsed", "seconds"),
    [
        ([], 5.0, None),
        ([10.0], 0.0, 10.0),
        ([10.0], 4.0, 6.0),
        ([30.0, 10.0, 20.0], 0.0, 20.0),
        ([40.0, 10.0, 20.0, 30.0], 0.0, 30.0),
        ([10.0], 9.5, 1.0),
        ([10.0], 99.0, 1.0),
    ],
)
def test_the_rest_of_a_load_is_predicted_by_the_median_of_earlier_ones(
    history: list[float], elapsed: float, seconds: float | None
) -> None:
    assert demand.expected_seconds(iter(history), elapsed) == seconds


@pytest.mark.parametrize(
    ("failed_ago", "left"), [(None, 0.0), (0.0, 10.0), (4.0, 6.0), (9.5, 0.5), (10.0, 0.0), (99.0, 0.0)]
)
def test_a_failed_load_is_repeated_after_a_rest(failed_ago: float | None, left: float) -> None:
    assert demand.rest_left(failed_ago) == left


def test_the_error_of_a_model_that_is_not_loaded_says_how_to_load_it() -> None:
    error = ColdModel("llama.cpp:a")
    assert (error.key, error.param, error.retry_after) == ("llama.cpp:a", "model", demand.UNKNOWN_RETRY_AFTER)
    assert error.message == (
        "The model 'llama.cpp:a' is not loaded. Load it in the console, or with POST /api/v1/models/load "
        'and the body {"key": "llama.cpp:a"}, then try again.'
    )


def test_an_outlook_knows_nothing_by_default() -> None:
    assert Outlook() == Outlook(seconds=None, failure=None)

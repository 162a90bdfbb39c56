"""The relay classifies failures for the retry rules."""

from __future__ import annotations

import pytest

from models_app.domain.errors import (
    Draining,
    InvalidRequest,
    LoadFailed,
    ModelNotFound,
    ModelNotLoaded,
    NoaError,
    PermissionDenied,
    ProviderAuthFailed,
    ProviderError,
    RateLimited,
    RunnerDied,
    Unavailable,
)
from models_app.domain.residency.demand import ColdModel
from models_app.domain.residency.suspects import OnTrial, refusal
from models_app.domain.traffic.retries import Failure
from models_app.gateway.forwarding.relay import failure_of
from models_app.gateway.http.errors import ServerStopping
from models_app.gateway.routing.resolving import ModelUnable
from models_app.gateway.upstream.connection import Broken, ClosedEarly, Refused, UpstreamError


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Refused("no socket"), Failure.NOT_BEGUN),
        (Draining("It drains."), Failure.NOT_BEGUN),
        (ClosedEarly("closed"), Failure.RUNNER_DIED),
        (Broken("cut"), Failure.RUNNER_DIED),
        (ColdModel("a:b"), Failure.COLD),
        (OnTrial("a:b"), Failure.COLD),
        (ModelNotFound("No."), Failure.UNKNOWN),
        (ModelNotLoaded("The route has no model."), Failure.UNKNOWN),
        (Unavailable("The queue is full."), Failure.TRANSIENT),
        (RunnerDied("It died."), Failure.TRANSIENT),
        (RateLimited("Later."), Failure.TRANSIENT),
        (ProviderError("It failed."), Failure.TRANSIENT),
        (ProviderAuthFailed("It is not retryable, but another provider has other credentials."), Failure.TRANSIENT),
        (ServerStopping(), Failure.TRANSIENT),
        (LoadFailed("It failed.", stage="start"), Failure.FINAL),
        (ModelUnable("It cannot."), Failure.FINAL),
        (PermissionDenied("No."), Failure.FINAL),
        (InvalidRequest("No."), Failure.FINAL),
        (refusal("a:b"), Failure.FINAL),
        (NoaError("A bug."), Failure.FINAL),
    ],
)
def test_every_error_has_a_failure(error: NoaError | UpstreamError, failure: Failure) -> None:
    assert failure_of(error) is failure

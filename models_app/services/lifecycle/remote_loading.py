"""Loads models of remote providers: an instance without a process, after a check at the provider."""

from __future__ import annotations

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict, InvalidRequest
from models_app.models import RegisteredModel
from models_app.providers import dialects
from models_app.services.coordination import connections
from models_app.services.jobs.jobs import Run
from models_app.services.providers import providers


def check_loadable(*, model: RegisteredModel, options: LoadOptions) -> None:
    """Raises Conflict while its provider is disabled, and InvalidRequest for options, which only runners have."""
    if not model.provider.enabled:
        raise Conflict(
            f"'{model.key}' cannot be loaded: its provider is disabled. Enable it first:"
            f" PATCH /api/v1/providers/{model.provider.slug}.",
            code="provider_disabled",
        )
    if not options.is_empty:
        raise InvalidRequest(
            f"'{model.key}' runs at its provider, which has no load options. Omit 'options'.",
            code="options_not_for_remote",
            param="options",
        )


def connect(*, run: Run, model: RegisteredModel) -> None:
    """Check with one cheap call that the provider accepts the key and has the model; raises NoaError."""
    with run.step("connect", f"checking {model.model_id} at '{model.provider.slug}'"):
        check = dialects.check_model(providers.endpoint(model.provider, model))
        connections.release()
        dialects.watched(check, poll=run.check_cancelled)

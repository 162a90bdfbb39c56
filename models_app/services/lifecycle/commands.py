"""Checks requests to load, unload, switch and discover: one that cannot succeed is refused before it becomes a job.

Each function returns a queued job and True, or the active job that does the same and False. The caller sends a new job
to a worker: `models_app.tasks.queueing.enqueue`.
"""

from __future__ import annotations

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import Job, RegisteredModel
from models_app.services.catalog import lookup
from models_app.services.jobs import jobs
from models_app.services.lifecycle import demands, estimating, loading, switching, unloading
from models_app.services.lifecycle.estimating import Estimate
from models_app.services.nodes import placement
from models_app.services.providers import providers
from models_app.services.routes import routing


def request_load(
    *, key: str, options: LoadOptions, node: str = "", actor: str, fit: bool = False, may_evict: bool = True
) -> tuple[Job, bool]:
    """Request a load. `node` requests an instance there, beside those on other nodes; empty lets NOA choose. With `fit`
    the context is reduced until it fits; without `may_evict` no other model is evicted for it.

    Raises InvalidRequest, ModelNotFound, InsufficientMemory, Conflict while the model's provider is disabled, or as
    `placement.node_for` does.
    """
    model = lookup.get(key=key)
    loading.check_loadable(model=model, options=options)
    if not placement.has_others():
        # Only its own worker has the full picture of another machine's memory.
        options = estimating.check(model=model, options=options, fit=fit, actor=actor)
    return jobs.create(
        kind=JobKind.LOAD,
        subject=model.key,
        arguments={},
        options=options,
        actor=actor,
        may_evict=may_evict,
        asked_node=_checked_node(model, options, node),
    )


def estimate_load(*, key: str, options: LoadOptions, fit: bool = False) -> Estimate:
    """The expected outcome of `request_load`, with the same errors except InsufficientMemory."""
    model = lookup.get(key=key)
    loading.check_loadable(model=model, options=options)
    return estimating.estimate(model=model, options=options, fit=fit)


def request_unload(*, key: str, node: str = "", actor: str) -> tuple[Job, bool]:
    """Request an unload. Raises InvalidRequest, ModelNotFound, or Conflict when the model is not loaded."""
    model = lookup.get(key=key)
    # Its instance does not serve while it drains: a repeated request then shares that job.
    if not _is_being_unloaded(model, node):
        unloading.loaded_instance(model=model, node=node)
    return jobs.create(kind=JobKind.UNLOAD, subject=model.key, arguments={}, actor=actor, asked_node=node)


def _checked_node(model: RegisteredModel, options: LoadOptions, node: str) -> str:
    """Raises InvalidRequest for a node with a remote model, and as `placement.node_for` does."""
    if node and providers.is_remote(model.provider):
        raise InvalidRequest(
            f"'{model.key}' runs at its provider, on no node. Omit 'node'.",
            code="node_not_for_remote",
            param="node",
        )
    if node:
        placement.node_for_load(model=model, options=options, asked_node=node)
    return node


def request_switch(
    *,
    key: str,
    route: str = CURRENT_ROUTE,
    keep_previous: bool = False,
    force: bool = False,
    actor: str,
    may_evict: bool = True,
) -> tuple[Job, bool]:
    """Request a switch. Raises InvalidRequest, NotFound, ModelNotFound, or Conflict if `key` is the target already, or
    without `force` if it cannot answer what the route was asked for."""
    model = lookup.get(key=key)
    found = routing.get(name=route)
    switching.check_possible(model=model, route=found)
    if not force:
        demands.check(model=model, route=found)
    loading.check_loadable(model=model, options=LoadOptions())
    return jobs.create(
        kind=JobKind.SWITCH,
        subject=found.name,
        arguments={"key": model.key, "keep_previous": keep_previous} | ({"force": True} if force else {}),
        actor=actor,
        may_evict=may_evict,
    )


def request_discover(*, provider: str | None = None, actor: str) -> tuple[Job, bool]:
    """Request the discovery of one provider, or of all enabled ones.

    Raises InvalidRequest, NotFound, or Conflict for a disabled provider.
    """
    if provider is None:
        return jobs.create(kind=JobKind.DISCOVER, subject="", arguments={}, actor=actor)
    found = lookup.provider(slug=provider)
    if not found.enabled:
        raise Conflict(
            f"'{found.slug}' is disabled. Enable it first: PATCH /api/v1/providers/{found.slug}.",
            code="provider_disabled",
            param="provider",
        )
    return jobs.create(kind=JobKind.DISCOVER, subject=found.slug, arguments={"provider": found.slug}, actor=actor)


def _is_being_unloaded(model: RegisteredModel, node: str) -> bool:
    return Job.objects.filter(
        kind=JobKind.UNLOAD, subject=model.key, asked_node=node, state__in=ACTIVE_JOB_STATES
    ).exists()

"""The queue of a job: that of one node, or the common one for jobs that any node can run."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.states import JobKind
from models_app.services.catalog.lookup import LOCAL_SLUG
from models_app.services.nodes import placement

COMMON = "common"

# Work that only calls a provider over the network, unless its model is a file of a node.
_ANYWHERE = frozenset({JobKind.DISCOVER, JobKind.PROBE, JobKind.PROFILE})


def of_node(name: str) -> str:
    return f"node.{name}"


def own() -> tuple[str, ...]:
    """The queues of this node's worker; '' is that of jobs from before queues were introduced."""
    return (of_node(settings.NOA_NODE), COMMON, "")


def choose(
    *,
    kind: JobKind,
    subject: str,
    arguments: dict[str, Any],
    options: LoadOptions | None = None,
    asked_node: str = "",
) -> str:
    """The queue of a new job. `subject` is a model key, a provider's slug, or '' for all.

    Raises NotFound, Conflict or Unavailable where no node can do it.
    """
    slug = subject.partition(":")[0]
    if kind in _ANYWHERE and not asked_node and slug not in ("", LOCAL_SLUG):
        return COMMON
    key = arguments.get("key") or subject
    return of_node(placement.node_for(kind=kind, key=key, options=options or LoadOptions(), asked_node=asked_node))

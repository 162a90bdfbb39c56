"""The immutable snapshot of routes, models and API keys that the gateway serves from.

A web process holds one `Snapshot` and replaces it as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from models_app.domain.catalog.pricing import Price
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.demand import EVERYTHING, NOTHING, Permission
from models_app.domain.residency.suspects import Trials
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.listed import NO_FACTS, Facts
from models_app.domain.traffic.texts import TextRule

CURRENT_ROUTE = "current"


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """A provider's server and its settings. Timeouts are seconds; None is the gateway's default."""

    provider: str
    kind: ProviderKind
    base_url: str
    model_id: str
    # Not in the representation: a snapshot can end up in a log or in a traceback.
    api_key: str = field(repr=False)
    allow_private: bool = False
    connect_seconds: float | None = None
    first_byte_seconds: float | None = None
    idle_seconds: float | None = None
    total_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The server of one model: a runner, whose unix socket's path is `socket`, or a provider.

    address  of the runner proxy of `node`, when the runner is on another machine; empty when the socket is here
    copies   the number of instances that serve this model; see `ModelEntry.others`
    """

    key: str
    instance_id: str
    socket: str
    capabilities: frozenset[str]
    remote: RemoteEndpoint | None = None
    # For the access log: the version's digest, cut short, and the runner's node.
    version: str = ""
    node: str = ""
    price: Price | None = None
    address: str = ""
    copies: int = 1
    # What one request can use; None is unknown.
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A registered model in the gateway's list; `target` is None while it is not loaded.

    `others` are further instances on other nodes, equivalent to `target`.
    `back_at`, in Unix seconds, is when a model that died is expected to serve again; None without a recovery.

    permission    the loads and evictions that requests for it can cause while it is not loaded
    capabilities  known ones, whether it is loaded or not
    facts         what the list of models says of it beside
    """

    key: str
    model_id: str
    provider: str
    created: int  # Unix seconds
    target: Target | None
    others: tuple[Target, ...] = ()
    back_at: float | None = None
    permission: Permission = NOTHING
    capabilities: frozenset[str] = frozenset()
    facts: Facts = NO_FACTS


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One API key: its scopes, and its end (`expires_at` in Unix seconds, None for ever)."""

    key_id: str
    scopes: frozenset[str]
    expires_at: float | None
    # Routes, model keys and `<provider>:*` that the key allows; empty is all.
    allowed_models: frozenset[str] = frozenset()
    permission: Permission = EVERYTHING
    # None for a key without limits, whose requests need no counting.
    limits: KeyLimits | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The meaning of a `model` field: the route that it names, if any, and the model."""

    route: str | None
    model: ModelEntry | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Routes by name (to a model key or None), models by key, keys by SHA-256 of the whole key."""

    revision: int
    routes: Mapping[str, str | None] = field(default_factory=dict)
    # Keys of the models that are tried, in this order, when a route's target cannot answer.
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # The loads and evictions that requests by a route can cause; routes without a restriction are left out.
    permissions: Mapping[str, Permission] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    # By model: digests of requests that crash its runner, and the end of their refusal (Unix seconds).
    killers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # By model: requests that are repeated one by one, as one of them can have crashed its runner.
    trials: Mapping[str, Trials] = field(default_factory=dict)
    keys: Mapping[str, KeyEntry] = field(default_factory=dict)
    # Model ids to the key of the model that was registered first: a provider that is added later takes no name away.
    short_names: Mapping[str, str] = field(default_factory=dict)
    # Rules for stored texts, by `texts.of_key` and `texts.of_route`.
    text_rules: Mapping[str, TextRule] = field(default_factory=dict)

    def resolve(self, name: str) -> Resolution | None:
        """Resolve a route, key or short name, in this order; None for an unknown name."""
        if name in self.routes:
            key = self.routes[name]
            return Resolution(name, self.models.get(key) if key else None)
        model = self.models.get(name) or self.models.get(self.short_names.get(name, ""))
        return Resolution(None, model) if model else None


EMPTY_SNAPSHOT = Snapshot(revision=-1)


def hash_api_key(key: str) -> str:
    """The form in which an API key is stored. Keys carry 256 random bits, so a plain SHA-256 suffices."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

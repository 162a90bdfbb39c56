"""The page for Prometheus. All of it comes from the database, so that every web process returns the same page.

Labels are routes, models, nodes, states and providers: no API keys and no texts. The busiest `MOST_LABELS` pairs of
model and route have their own series, and the others are summed up as `other`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.db import DatabaseError
from django.db.models import Count, Sum
from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from models_app.domain.measuring import histogram
from models_app.domain.states import ACTIVE_JOB_STATES, LIVE_INSTANCE_STATES
from models_app.models import GatewayProcess, Instance, Job, Node, Provider, RegisteredModel
from models_app.services.access_log import quarantine
from models_app.services.rollups import live_metrics, rollups
from models_app.services.rollups.rollups import Totals

MOST_LABELS = 200
_OTHER = ("other", "other")
# Seconds, as OpenTelemetry recommends for generative AI; counts are exact for a bound within 4.9 % of it.
_DURATION_BOUNDS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
_TTFT_BOUNDS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)
_LABELS = ("model", "route")
_GENAI_LABELS = ("gen_ai_provider_name", "gen_ai_request_model", "noa_route")
# Name, help, column of Traffic.
_COUNTERS = (
    ("noa_requests", "Requests through the gateway.", "requests"),
    ("noa_request_errors", "Requests that ended in an error.", "errors"),
    ("noa_requests_aborted", "Requests that ended before their answer was whole.", "aborted"),
    ("noa_prompt_tokens", "Prompt tokens.", "prompt_tokens"),
    ("noa_cached_tokens", "Prompt tokens that came from a cache.", "cached_tokens"),
    ("noa_completion_tokens", "Completion tokens.", "completion_tokens"),
    ("noa_cost_usd", "US dollars of the requests whose price is known.", "cost_usd"),
    ("noa_unpriced_requests", "Requests with tokens whose price is not known.", "unpriced"),
)
_LOG_COUNTERS = (
    ("noa_access_log_recorded", "Requests that web processes answered, by their own count.", "recorded"),
    ("noa_access_log_stored", "Records that were stored as rows.", "stored"),
    ("noa_access_log_dropped", "Records that are lost: neither disk nor memory had space.", "dropped"),
    ("noa_access_log_quarantined", "Records that were refused or damaged, and put into quarantine.", "quarantined"),
    ("noa_access_log_cut_off", "Requests that were in progress when their web process was killed.", "cut_off"),
)


def page() -> bytes:
    """The page in the text format; without the database only metrics of this machine, and `noa_database_up` is 0."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return generate_latest(registry)


class _Collector:
    def collect(self) -> Iterator[Metric]:
        found: list[Metric] = []
        try:
            found += [*_traffic(), *_access_log(), *_state()]
        except DatabaseError:
            found = []
        yield _gauge("noa_database_up", "Whether the database answered.", float(bool(found)))
        yield _info()
        yield _waiting()
        yield from found


def _traffic() -> Iterator[Metric]:
    sums = _by_pair()
    for name, text, column in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=_LABELS)
        for pair, totals in sums.items():
            counter.add_metric(pair, float(getattr(totals, column)))
        yield counter
    durations = HistogramMetricFamily(
        "gen_ai_server_request_duration_seconds",
        "Time from the request to the end of its answer.",
        labels=_GENAI_LABELS,
    )
    ttfts = HistogramMetricFamily(
        "gen_ai_server_time_to_first_token_seconds",
        "Time to the first token of streamed answers.",
        labels=_GENAI_LABELS,
    )
    per_token = SummaryMetricFamily(
        "gen_ai_server_time_per_output_token_seconds",
        "Time per token after the first, of streamed answers.",
        labels=_GENAI_LABELS,
    )
    for (model, route), totals in sums.items():
        labels = (_provider(model), model, route)
        durations.add_metric(labels, _buckets(totals.durations, _DURATION_BOUNDS), totals.duration_ms / 1000)
        ttfts.add_metric(labels, _buckets(totals.ttfts, _TTFT_BOUNDS), _sum(totals.ttfts) / 1000)
        per_token.add_metric(labels, totals.timed_tokens, totals.generation_ms / 1000)
    yield from (durations, ttfts, per_token)


def _by_pair() -> dict[tuple[str, str], Totals]:
    """Sums of all time by model and route, the busiest first; requests that reached no model have empty labels."""
    rows = live_metrics.ever()
    rows.sort(key=lambda row: (-row[2].requests, row[0], row[1]))
    found: dict[tuple[str, str], Totals] = {}
    for number, (model, route, totals) in enumerate(rows):
        pair = (model, route) if number < MOST_LABELS else _OTHER
        rollups.merge(found.setdefault(pair, Totals()), totals)
    return found


def _provider(model: str) -> str:
    return model.partition(":")[0] if ":" in model else model


def _buckets(counts: histogram.Histogram, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Cumulative counts at each bound, in seconds."""
    below = [(str(bound), float(histogram.count_up_to(counts, bound * 1000))) for bound in bounds]
    return [*below, ("+Inf", float(sum(counts.values())))]


def _sum(counts: histogram.Histogram) -> float:
    return sum(histogram.middle(bucket) * count for bucket, count in counts.items())


def _access_log() -> Iterator[Metric]:
    sums = GatewayProcess.objects.aggregate(**{name: Sum(name) for _, _, name in _LOG_COUNTERS})
    for name, text, column in _LOG_COUNTERS:
        counter = CounterMetricFamily(name, text)
        counter.add_metric((), float(sums[column] or 0))
        yield counter


def _state() -> Iterator[Metric]:
    instances = list(
        Instance.objects.filter(state__in=LIVE_INSTANCE_STATES).values_list(
            "model__key", "node", "state", "memory_bytes"
        )
    )
    loaded = GaugeMetricFamily("noa_instances", "Loaded copies of models.", labels=("model", "node", "state"))
    memory = GaugeMetricFamily(
        "noa_instance_memory_bytes", "Memory of a loaded copy, as last measured.", labels=("model", "node")
    )
    for model, node, state, size in instances:
        loaded.add_metric((model, node, state), 1.0)
        memory.add_metric((model, node), float(size or 0))
    yield from (loaded, memory)
    yield _counted("noa_models", "Registered models.", "status", RegisteredModel.objects.all())
    active = Job.objects.filter(state__in=ACTIVE_JOB_STATES)
    yield _counted("noa_jobs", "Jobs that are queued or running.", "state", active)
    nodes = GaugeMetricFamily("noa_node_up", "Whether a node's heartbeat arrives.", labels=("node",))
    for name, lost_at in Node.objects.values_list("name", "lost_at"):
        nodes.add_metric((name,), float(lost_at is None))
    yield nodes
    circuits = GaugeMetricFamily(
        "noa_provider_circuit_open", "Whether a provider gets no requests, because it failed.", labels=("provider",)
    )
    for slug, breaker in Provider.objects.values_list("slug", "breaker"):
        circuits.add_metric((slug,), float(breaker != "closed"))
    yield circuits


def _counted(name: str, text: str, column: str, rows: Any) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=(column,))
    for value, count in rows.order_by().values_list(column).annotate(count=Count("pk")):
        gauge.add_metric((value,), float(count))
    return gauge


def _gauge(name: str, text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, text)
    gauge.add_metric((), value)
    return gauge


def _info() -> Metric:
    try:
        number = version("noa-server")
    except PackageNotFoundError:
        number = "unknown"
    info = GaugeMetricFamily("noa_build_info", "The version that runs.", labels=("version",))
    info.add_metric((number,), 1.0)
    return info


def _waiting() -> Metric:
    size = 0
    for path in quarantine.folder().glob("access-*.log"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:  # shipped at this moment
            continue
    return _gauge("noa_access_log_spool_bytes", "Size of the spool files on this machine, shipped or not.", size)

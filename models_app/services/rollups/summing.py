"""Computes from a batch of access records the increments of each table of roll-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TypeVar

from models_app.domain.measuring import histogram
from models_app.domain.measuring.figures import FASTEST_TPOT_MS
from models_app.domain.records.access import AccessRecord
from models_app.domain.windows import RollupStep
from models_app.services.rollups import rollups
from models_app.services.rollups.rollups import Place, Sums, TrafficPlace

# The client disconnected before the answer: not an error.
_CLIENT_LEFT = "client_left"
# The precision of the decimal columns of the log and of the sums.
_COST_DIGITS = Decimal("1e-10")

Cell = tuple[int, str, str, str]
"""Minute (since 1970), model key, route, API key's id: determines the row in every table."""

Key = TypeVar("Key")
Found = TypeVar("Found", bound=tuple[object, ...])


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def money(cost: float | None) -> Decimal | None:
    return None if cost is None else Decimal(repr(cost)).quantize(_COST_DIGITS)


def is_error(record: AccessRecord) -> bool:
    """Whether the request ended in an error, of the caller or of NOA; a disconnected client does not count."""
    return record.error_code != _CLIENT_LEFT and (record.status >= 400 or bool(record.error_code))


def cells(records: Iterable[AccessRecord]) -> dict[Cell, Sums]:
    """The sums of the records by cell, in one pass; later steps work with the few cells of a batch."""
    found: dict[Cell, Sums] = {}
    for record in records:
        cell = (int(record.started_at // 60), record.model_key, record.route, record.key_id)
        sums = found.get(cell)
        if sums is None:
            sums = found[cell] = Sums(last_at=moment(record.started_at))
        _add(sums, record)
    return found


def activity_of(found: Mapping[Cell, Sums]) -> dict[Place, Sums]:
    """Sums by model, hour and key, and those of all requests of the hour."""

    def places(cell: Cell) -> Iterable[Place]:
        minute, model, _, key_id = cell
        hour = RollupStep.HOUR.floor(moment(minute * 60))
        return (model, hour, key_id), (rollups.ALL, hour, "")

    return _grouped(found, places)


def traffic_of(found: Mapping[Cell, Sums]) -> dict[TrafficPlace, Sums]:
    """Sums by step, model and route, and those of all requests of the step."""

    # First without API keys, of which there can be many, then by longer and longer steps: each pass has few sums.
    sums: dict[TrafficPlace, Sums] = _grouped(
        found, lambda cell: [(RollupStep.MINUTE, moment(cell[0] * 60), cell[1], cell[2])]
    )
    sums |= _grouped(sums, lambda place: [(place[0], place[1], rollups.ALL, rollups.ALL)])
    every, shorter = dict(sums), sums
    for step in RollupStep:
        shorter = _grouped(shorter, partial(_in_step, step))
        every |= shorter
    return every


def _in_step(step: RollupStep, place: TrafficPlace) -> list[TrafficPlace]:
    return [(step, step.floor(place[1]), place[2], place[3])]


def _grouped(found: Mapping[Key, Sums], places: Callable[[Key], Iterable[Found]]) -> dict[Found, Sums]:
    grouped: dict[Found, Sums] = {}
    for cell, sums in found.items():
        for place in places(cell):
            if place not in grouped:
                grouped[place] = Sums(last_at=sums.last_at)
            rollups.merge(grouped[place], sums)
            grouped[place].last_at = max(grouped[place].last_at, sums.last_at)
    return grouped


def _add(sums: Sums, record: AccessRecord) -> None:
    at = moment(record.started_at)
    if at > sums.last_at:
        sums.last_at = at
    count = record.requests
    sums.requests += count
    sums.errors += count * is_error(record)
    sums.aborted += record.aborted
    sums.prompt_tokens += record.prompt_tokens or 0
    sums.cached_tokens += record.cached_tokens or 0
    sums.completion_tokens += record.completion_tokens or 0
    sums.duration_ms += count * record.duration_ms
    histogram.add(sums.durations, record.duration_ms, count)
    _add_cost(sums, record)
    _add_speed(sums, record)


def _add_cost(sums: Sums, record: AccessRecord) -> None:
    cost = money(record.cost_usd)
    if cost is not None:
        sums.cost_usd += cost
    elif record.prompt_tokens is not None:
        # A request without tokens costs nothing.
        sums.unpriced += 1


def _add_speed(sums: Sums, record: AccessRecord) -> None:
    if record.ttft_ms is None:
        return
    histogram.add(sums.ttfts, record.ttft_ms)
    tokens = record.completion_tokens or 0
    milliseconds = record.duration_ms - record.ttft_ms
    # The measurement begins after the first token. Tokens that came together have no speed.
    together = milliseconds < FASTEST_TPOT_MS * (tokens - 1)
    if tokens > 1 and not (together or record.aborted or record.estimated):
        sums.timed_tokens += tokens - 1
        sums.generation_ms += milliseconds

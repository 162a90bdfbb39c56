"""The time of a request by stage: queue, load, first token, generation."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.safestring import SafeString

from models_app.admin.parts import badges, bars, units
from models_app.admin.parts.bars import Part
from models_app.models import AccessLog


class Stage(NamedTuple):
    """`milliseconds` are the stage's own; `tone` is the end of a class `noa-fill-…`."""

    tone: str
    name: str
    milliseconds: float
    about: str


def stages(row: AccessLog) -> list[Stage]:
    """The known stages in order of time; their sum is the duration of the request."""
    queue, load = row.queue_ms or 0.0, row.load_wait_ms or 0.0
    waited = min(queue + load, row.duration_ms)
    first = row.ttft_ms if row.ttft_ms is not None else None
    found = [
        Stage("2", "Queue", queue, "waited for a free slot"),
        Stage("3", "Load", load, "waited until the model was loaded"),
    ]
    if first is None:
        found.append(Stage("7", "Answer", row.duration_ms - waited, "no token was streamed"))
    else:
        found.append(Stage("4", "First token", max(0.0, first - waited), "the prompt was processed"))
        found.append(Stage("0", "Tokens", max(0.0, row.duration_ms - first), _written(row)))
    return [stage for stage in found if stage.milliseconds > 0]


def _written(row: AccessLog) -> str:
    speed = badges.speed_of(row)
    count = units.count(row.completion_tokens)
    return f"{count} tokens" + (f", {units.speed(speed)}" if speed else "")


def of(row: AccessLog) -> dict[str, object]:
    """Template context of the request's page."""
    found = stages(row)
    return {
        "row": row,
        "bar": _bar(row, found),
        "stages": [(stage, units.milliseconds(stage.milliseconds)) for stage in found],
        "duration": units.milliseconds(row.duration_ms),
        "failed": row.status >= 400 or bool(row.error_code),
    }


def small(row: AccessLog) -> SafeString:
    """The bar in a row of the list."""
    return _bar(row, stages(row))


def _bar(row: AccessLog, found: list[Stage]) -> SafeString:
    parts = [
        Part(stage.tone, stage.milliseconds, f"{stage.name}: {units.milliseconds(stage.milliseconds)}")
        for stage in found
    ]
    label = "Where the time went: " + (", ".join(part.words for part in parts) or "nothing measured")
    return bars.bar(parts, whole=max(row.duration_ms, 0.001), label=label)

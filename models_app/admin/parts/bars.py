"""Bars and curves drawn as SVG: their sizes are attributes, so that no inline style is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.admin.parts import units

# The number of colours in console.css; they repeat after that.
TONES = 8
# The width of the SVG's coordinate system; the browser scales it to the page.
_WIDE = 1000
# A thinner segment is invisible.
_THINNEST = 4.0


class Part(NamedTuple):
    """A piece of a bar: `tone` is the end of a class `noa-fill-…`, `words` is its tooltip."""

    tone: str
    amount: float
    words: str


def tone(number: int) -> str:
    return str(number % TONES)


def bar(parts: Sequence[Part], *, whole: float, label: str) -> SafeString:
    """Parts side by side, each as wide as its share of `whole`; `label` is the accessible name."""
    at, drawn = 0.0, []
    for part in parts:
        if part.amount > 0 and whole > 0:
            width = max(_THINNEST, part.amount / whole * _WIDE)
            drawn.append((part.tone, round(at, 1), round(min(width, _WIDE - at), 1), part.words))
            at = min(_WIDE, at + width)
    return format_html(
        '<svg class="noa-bar" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        _WIDE,
        label,
        format_html_join(
            "",
            '<rect class="noa-fill-{}" x="{}" y="0" width="{}" height="10"><title>{}</title></rect>',
            drawn,
        ),
    )


def memory(models: Sequence[tuple[str, int]], *, room: int | None) -> SafeString:
    """One segment for each model's bytes, out of `room` bytes."""
    used = sum(size for _, size in models)
    parts = [Part(tone(number), size, f"{key}: {units.size(size)}") for number, (key, size) in enumerate(models)]
    text = ", ".join(part.words for part in parts) or "no model"
    return bar(parts, whole=max(room or 0, used), label=f"Memory of models: {text}")


def curve(values: Sequence[float | None], *, label: str) -> SafeString:
    """A sparkline; gaps are skipped. Empty with fewer than two points."""
    points = [(number, value) for number, value in enumerate(values) if value is not None]
    top = max((value for _, value in points), default=0.0)
    if len(points) < 2 or top <= 0:
        return SafeString("")
    step = 100 / max(1, len(values) - 1)
    line = " ".join(f"{number * step:.1f},{22 - value / top * 20:.1f}" for number, value in points)
    return format_html(
        '<svg class="noa-curve" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polyline points="{}" vector-effect="non-scaling-stroke"/></svg>',
        label,
        line,
    )


def whisker(
    tone: str,
    value: float,
    ends: tuple[float | None, float | None],
    *,
    top: float,
    label: str,
) -> SafeString:
    """A bar up to `value` of `top`, with a line from one end of its interval to the other where both are known."""
    low, high = ends
    line = (
        format_html(
            '<line class="noa-whisker" x1="{}" x2="{}" y1="5" y2="5" vector-effect="non-scaling-stroke"/>',
            round(low / top * _WIDE, 1),
            round(high / top * _WIDE, 1),
        )
        if low is not None and high is not None
        else SafeString("")
    )
    return format_html(
        '<svg class="noa-bar" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="noa-fill-{}" x="0" y="0" width="{}" height="10"/>{}</svg>',
        _WIDE,
        label,
        tone,
        round(max(_THINNEST, value / top * _WIDE), 1),
        line,
    )

"""Numbers as people read them: rounded, with their unit."""

from __future__ import annotations

from datetime import datetime

from django.utils import formats, timezone

NOTHING = "–"

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def size(number: int | None) -> str:
    """Bytes: 4,683,073,184 is `4.4 GiB`."""
    if number is None:
        return NOTHING
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_BINARY[unit]}" if unit < 2 else f"{value:.1f} {_BINARY[unit]}"


def tokens(number: int | None) -> str:
    """32,768 is `32K`, as model cards write it; what is no multiple of 1024 is written out."""
    if number is None:
        return NOTHING
    return f"{number // 1024:,}K" if number >= 1024 and number % 1024 == 0 else f"{number:,}"


def seconds(number: float | None) -> str:
    """0.043 is `43 ms`, 3.21 is `3.2 s`, 95 is `1 min 35 s`."""
    if number is None:
        return NOTHING
    if number < 1:
        return f"{number * 1000:.0f} ms"
    if number < 60:
        return f"{number:.1f} s"
    return f"{int(number // 60)} min {int(number % 60)} s"


def milliseconds(number: float | None) -> str:
    return NOTHING if number is None else seconds(number / 1000)


def percent(fraction: float) -> str:
    return f"{fraction * 100:.0f} %"


def moment(when: datetime | None) -> str:
    """Local date and time with seconds: what happened in the same minute stays in order."""
    if when is None:
        return NOTHING
    return formats.date_format(timezone.localtime(when), "j M Y, H:i:s")


def words(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

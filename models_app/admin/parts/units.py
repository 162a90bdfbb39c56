"""Numbers for display: rounded, with their unit."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.utils import formats, timezone
from django.utils.timesince import timesince

NOTHING = "–"
# Keeps a number and its unit on one line.
_SPACE = "\N{NO-BREAK SPACE}"

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def size(number: int | None) -> str:
    """Bytes: 4,683,073,184 is `4.4 GiB`."""
    if number is None:
        return NOTHING
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit < 2 else 1
    return f"{value:.{digits}f}{_SPACE}{_BINARY[unit]}"


def tokens(number: int | None) -> str:
    """32,768 is `32K`, as on model cards; other numbers are written out."""
    if number is None:
        return NOTHING
    round_for_people = number % 1000 == 0
    is_binary = number >= 1024 and number % 1024 == 0 and not round_for_people
    return f"{number // 1024:,}K" if is_binary else f"{number:,}"


def seconds(number: float | None) -> str:
    """0.0043 is `4.3 ms`, 0.043 is `43 ms`, 3.21 is `3.2 s`, 95 is `1 min 35 s`."""
    if number is None:
        return NOTHING
    if 0 < number < 0.00995:
        return f"{number * 1000:.1f}{_SPACE}ms"
    if number < 1:
        return f"{number * 1000:.0f}{_SPACE}ms"
    if number < 60:
        return f"{number:.1f}{_SPACE}s"
    return f"{int(number // 60)}{_SPACE}min {int(number % 60)}{_SPACE}s"


def milliseconds(number: float | None) -> str:
    return NOTHING if number is None else seconds(number / 1000)


def percent(fraction: float) -> str:
    return f"{fraction * 100:.0f}{_SPACE}%"


def moment(when: datetime | None) -> str:
    """Date and time with seconds, so that the order is visible; the year when it is not this one."""
    if when is None:
        return NOTHING
    local = timezone.localtime(when)
    this_year = local.year == timezone.localtime().year
    text = formats.date_format(local, "j M, H:i:s" if this_year else "j M Y, H:i:s")
    return text.replace(" ", _SPACE)


def ago(when: datetime) -> str:
    """`just now` within a minute, then the largest unit only."""
    if (timezone.now() - when).total_seconds() < 60:
        return "just now"
    return f"{timesince(when, depth=1)} ago"


def count(number: float | None) -> str:
    """Up to 99,999 exact, then rounded: 1,234,567 is `1.2 M`."""
    if number is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e5, "k")):
        if number >= limit:
            divisor = 1e3 if unit == "k" else limit
            return f"{number / divisor:,.{0 if unit == 'k' else 1}f}{_SPACE}{unit}"
    return f"{number:,.0f}"


def share(fraction: float) -> str:
    """A fraction as percent; below 10 % with one digit more."""
    return percent(fraction) if fraction == 0 or fraction >= 0.1 else f"{fraction * 100:.1f}{_SPACE}%"


def dollars(amount: Decimal | None) -> str:
    """Cents, or two significant digits below ten cents: $12.34, $0.0042."""
    if amount is None:
        return NOTHING
    if amount == 0 or amount >= Decimal("0.1"):
        return f"${amount:,.2f}"
    return f"${amount:.2g}" if amount >= Decimal("0.0001") else "< $0.0001"


def speed(tokens_per_second: float | None) -> str:
    if tokens_per_second is None:
        return NOTHING
    return f"{tokens_per_second:,.{0 if tokens_per_second >= 10 else 1}f}{_SPACE}tokens/s"


def rate(per_second: float) -> str:
    """A rate per second with two significant digits: 12, 0.04; whole from 100 on."""
    if per_second == 0:
        return "0"
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.2g}"

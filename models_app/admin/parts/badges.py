"""HTML fragments: badges, links, tables, quoted text. All external text is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.admin.parts import units
from models_app.admin.parts.units import NOTHING
from models_app.domain.states import InstanceState, JobState, ModelStatus
from models_app.models import AccessLog, Instance
from models_app.services.runners import health

# One colour per meaning on every page: green is healthy, blue is in transition, red needs an operator.
TONES: dict[str, str] = {
    ModelStatus.LOADED: "good",
    ModelStatus.LOADING: "busy",
    ModelStatus.UNLOADING: "busy",
    ModelStatus.FAILED: "bad",
    InstanceState.READY: "good",
    InstanceState.QUEUED: "busy",
    InstanceState.STARTING: "busy",
    InstanceState.DRAINING: "busy",
    JobState.SUCCEEDED: "good",
    JobState.RUNNING: "busy",
    "done": "good",
}

_GOOD_NEWS = ("model-loaded", "model-switched", "instance-recovered", "provider-recovered")


def badge(text: str, tone: str | None = None) -> SafeString:
    """A word in a coloured box; without `tone` the colour follows from the word."""
    return format_html('<span class="noa-badge noa-{}">{}</span>', tone or TONES.get(text, "quiet"), text)


def badges(texts: Iterable[str], tone: str | None = None) -> SafeString | str:
    return format_html_join(" ", "{}", ((badge(text, tone),) for text in texts)) or NOTHING


def instance_state(instance: Instance) -> SafeString:
    """Its state, and a second badge when its health check fails."""
    answers = badge("does not answer", "bad") if health.is_failing(instance) else ""
    return format_html("{} {}", badge(instance.state), answers)


def http_status(status: int, *, aborted: bool) -> SafeString:
    tone = "good" if status < 400 else "warn" if status < 500 else "bad"
    cut = badge("cut off", "warn") if aborted else ""
    return format_html("{} {}", badge(str(status), tone), cut)


def link(target: Model | None, text: str = "") -> SafeString | str:
    """A link to an object's page in the console."""
    if target is None:
        return NOTHING
    return format_html('<a class="noa-link" href="{}">{}</a>', page_of(target), text or str(target))


def page_of(target: Model) -> str:
    meta = target._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[target.pk])


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> SafeString:
    """A table; on a narrow screen each cell shows its header."""
    labelled = [list(zip(headers, row, strict=True)) for row in rows]
    return render_to_string("admin/noa/table.html", {"headers": headers, "rows": labelled, "empty": empty})


def quoted(text: str) -> SafeString | str:
    """Machine output, whole, with its line breaks."""
    return format_html('<pre class="noa-quoted">{}</pre>', text) if text else NOTHING


def data(value: Any) -> SafeString | str:
    """JSON, indented."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre class="noa-quoted noa-plain">{}</pre>', text) if value else NOTHING


def two_lines(first: str, second: str) -> SafeString:
    return format_html(
        '<span class="noa-two"><span>{}</span><span class="noa-subtle">{}</span></span>',
        first,
        second,
    )


def moment(when: datetime | None) -> SafeString | str:
    """A date and time; the page's script converts it to the browser's time zone."""
    return _time(when, "moment", units.moment(when))


def ago(when: datetime | None) -> SafeString | str:
    """A relative time; the page's script keeps it current and adds the exact time as a tooltip."""
    return _time(when, "ago", units.ago(when)) if when else NOTHING


def _time(when: datetime | None, form: str, text: str) -> SafeString | str:
    if when is None:
        return NOTHING
    return format_html(
        '<time class="noa-time" datetime="{}" data-noa-time="{}">{}</time>',
        when.isoformat(),
        form,
        text,
    )


def event_tone(name: str) -> str:
    """The colour of a kind of event."""
    if "fail" in name or name.endswith("-gone"):
        return "bad"
    if "evict" in name or "cancel" in name or "revoked" in name:
        return "warn"
    return "good" if name in _GOOD_NEWS else "quiet"


def query(**values: str) -> str:
    return urlencode(values)


def speed_of(row: AccessLog) -> float | None:
    """Tokens per second between the first token and the last; None when that cannot be computed."""
    tokens = row.completion_tokens or 0
    if row.ttft_ms is None or tokens < 2 or row.duration_ms <= row.ttft_ms:
        return None
    return (tokens - 1) * 1000 / (row.duration_ms - row.ttft_ms)

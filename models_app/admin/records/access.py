"""The access log: requests through the gateway, each with its timeline."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from models_app.admin.parts import badges, units
from models_app.admin.parts.filters import (
    EndpointFilter,
    OutcomeFilter,
    ServedModelFilter,
    StartedFilter,
)
from models_app.admin.parts.keyset import KeysetAdmin
from models_app.admin.records import timeline
from models_app.models import AccessLog, ApiKey, RegisteredModel


@admin.register(AccessLog)
class AccessLogAdmin(KeysetAdmin):
    empty_hint = (
        "The gateway has received no request yet. "
        "Each request is listed here about a second after its end. Try one in the playground."
    )
    list_display = (
        "when",
        "model_and_endpoint",
        "status_badge",
        "tokens",
        "ttft",
        "duration",
        "shape",
        "cost",
        "key",
    )
    list_filter = (StartedFilter, OutcomeFilter, EndpointFilter, ServedModelFilter, "stream")
    # Exact, by indexed columns: a substring search scans the whole log, and so does admin's own `=`.
    search_fields = ("request_id__exact", "client_request_id__exact", "model_key__exact")
    search_help_text = "A whole request id or model key"
    change_form_outer_before_template = "admin/noa/request.html"
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    ("request_id", "client_request_id"),
                    ("when", "endpoint"),
                    ("client", "key_name"),
                    ("end_user", "session"),
                    ("tags", "trace_id"),
                    ("streamed", "attempts"),
                )
            },
        ),
        (
            "Model",
            {
                "fields": (
                    ("requested_model", "route"),
                    ("model_link", "version"),
                    ("instance_id", "node"),
                )
            },
        ),
        (
            "Answer",
            {
                "fields": (
                    ("status_badge", "error_code"),
                    ("tokens", "details"),
                    ("speed", "cost"),
                )
            },
        ),
    )

    def row_context(self, request: HttpRequest, row: AccessLog) -> dict[str, Any]:
        return {"timeline": timeline.of(row)}

    @display(description="Time")
    def when(self, row: AccessLog) -> SafeString | str:
        return badges.moment(row.started_at)

    @display(description="Model")
    def model_and_endpoint(self, row: AccessLog) -> SafeString | str:
        what = row.endpoint + (f", by '{row.route}'" if row.route and row.model_key else "")
        return badges.two_lines(row.model_key or row.requested_model or units.NOTHING, what)

    @display(description="Status")
    def status_badge(self, row: AccessLog) -> SafeString:
        badge = badges.http_status(row.status, aborted=row.aborted)
        return badge if not row.requests or row.requests == 1 else badges.two_lines(badge, f"{row.requests:,} requests")

    @display(description="Tokens")
    def tokens(self, row: AccessLog) -> str:
        if row.prompt_tokens is None and row.completion_tokens is None:
            return units.NOTHING
        found = f"{_count(row.prompt_tokens)} in, {_count(row.completion_tokens)} out"
        return f"{found} (estimated)" if row.estimated else found

    @display(description="Of them")
    def details(self, row: AccessLog) -> str:
        parts = [
            f"{number:,} {words}"
            for number, words in (
                (row.cached_tokens, "from a cache"),
                (row.cache_write_tokens, "written to a cache"),
                (row.reasoning_tokens, "of reasoning"),
            )
            if number
        ]
        return ", ".join(parts) or units.NOTHING

    @display(description="First token")
    def ttft(self, row: AccessLog) -> str:
        return units.milliseconds(row.ttft_ms)

    @display(description="Duration")
    def duration(self, row: AccessLog) -> str:
        return units.milliseconds(row.duration_ms)

    @display(description="Where it went")
    def shape(self, row: AccessLog) -> SafeString:
        return timeline.small(row)

    @display(description="Cost")
    def cost(self, row: AccessLog) -> str:
        found = units.dollars(row.cost_usd)
        return f"{found} (estimated)" if row.estimated and row.cost_usd is not None else found

    @display(description="Speed")
    def speed(self, row: AccessLog) -> str:
        return units.speed(badges.speed_of(row))

    @display(description="Streamed")
    def streamed(self, row: AccessLog) -> str:
        return "yes" if row.stream else "no"

    @display(description="API key")
    def key(self, row: AccessLog) -> str:
        return row.key_id or units.NOTHING

    @display(description="API key")
    def key_name(self, row: AccessLog) -> SafeString | str:
        found = ApiKey.objects.filter(key_id=row.key_id).first() if row.key_id else None
        return badges.link(found) if found else row.key_id or units.NOTHING

    @display(description="Answered by")
    def model_link(self, row: AccessLog) -> SafeString | str:
        found = RegisteredModel.objects.filter(key=row.model_key).first()
        return badges.link(found) if found else row.model_key or units.NOTHING


def _count(number: int | None) -> str:
    return units.NOTHING if number is None else f"{number:,}"

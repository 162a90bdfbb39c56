"""What happened: events and the access log."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from models_app.admin import marks, units
from models_app.admin.base import MachineWrittenAdmin
from models_app.admin.filters import (
    CreatedFilter,
    EndpointFilter,
    OutcomeFilter,
    ServedModelFilter,
    StartedFilter,
)
from models_app.models import AccessLog, Event, Job


@admin.register(Event)
class EventAdmin(MachineWrittenAdmin):
    list_display = ("when", "sentence", "name_badge", "actor")
    list_display_links = ("sentence",)
    list_filter = ("name", CreatedFilter)
    search_fields = ("subject", "message", "actor")
    search_help_text = "Model, sentence or actor"
    ordering = ("-id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    # Counts beside the filters would read the whole table once for each of them.
    show_facets = admin.ShowFacets.NEVER
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "sentence",
                    ("name_badge", "when"),
                    ("subject", "actor"),
                    "job",
                    "details",
                )
            },
        ),
    )

    @display(description="When")
    def when(self, event: Event) -> str:
        return units.moment(event.created_at)

    @display(description="What happened")
    def sentence(self, event: Event) -> str:
        return event.message or f"{event.name} {event.subject}"

    @display(description="Event")
    def name_badge(self, event: Event) -> SafeString:
        return marks.badge(event.name, "bad" if "failed" in event.name else "quiet")

    @display(description="Details")
    def details(self, event: Event) -> SafeString | str:
        return marks.data(event.data)

    @display(description="Job")
    def job(self, event: Event) -> SafeString | str:
        found = Job.objects.filter(pk=event.job_id).first() if event.job_id else None
        return marks.link(found)


@admin.register(AccessLog)
class AccessLogAdmin(MachineWrittenAdmin):
    list_display = (
        "when",
        "endpoint",
        "asked",
        "status_badge",
        "tokens",
        "ttft",
        "duration",
        "key",
    )
    list_filter = (StartedFilter, OutcomeFilter, EndpointFilter, ServedModelFilter, "stream")
    # Exact, by columns with an index: a search for a part of a word reads the whole log.
    search_fields = ("=request_id", "=client_request_id", "=model_key")
    search_help_text = "A whole request id or model key"
    ordering = ("-id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    # Counts beside the filters would read the whole table once for each of them.
    show_facets = admin.ShowFacets.NEVER
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    ("request_id", "client_request_id"),
                    ("when", "endpoint"),
                    ("client", "key"),
                    "stream",
                )
            },
        ),
        (
            "Model",
            {
                "fields": (
                    ("requested_model", "route"),
                    ("model_key", "version"),
                    ("instance_id", "node"),
                )
            },
        ),
        (
            "Answer",
            {
                "fields": (
                    ("status_badge", "error_code"),
                    ("tokens", "cached_tokens"),
                    ("ttft", "duration"),
                    ("queue", "load_wait"),
                    ("attempts", "aborted"),
                )
            },
        ),
    )

    @display(description="Time")
    def when(self, row: AccessLog) -> str:
        return units.moment(row.started_at)

    @display(description="Model")
    def asked(self, row: AccessLog) -> SafeString | str:
        if row.route and row.model_key:
            return marks.two_lines(row.model_key, f"by '{row.route}'")
        return row.model_key or row.requested_model or units.NOTHING

    @display(description="Status")
    def status_badge(self, row: AccessLog) -> SafeString:
        return marks.http_status(row.status, aborted=row.aborted)

    @display(description="Tokens")
    def tokens(self, row: AccessLog) -> str:
        if row.prompt_tokens is None and row.completion_tokens is None:
            return units.NOTHING
        return f"{_count(row.prompt_tokens)} in, {_count(row.completion_tokens)} out"

    @display(description="TTFT")
    def ttft(self, row: AccessLog) -> str:
        return units.milliseconds(row.ttft_ms)

    @display(description="Duration")
    def duration(self, row: AccessLog) -> str:
        return units.milliseconds(row.duration_ms)

    @display(description="Waited for a turn")
    def queue(self, row: AccessLog) -> str:
        return units.milliseconds(row.queue_ms)

    @display(description="Waited for the load")
    def load_wait(self, row: AccessLog) -> str:
        return units.milliseconds(row.load_wait_ms)

    @display(description="API key")
    def key(self, row: AccessLog) -> str:
        return row.key_id or units.NOTHING


def _count(number: int | None) -> str:
    return units.NOTHING if number is None else f"{number:,}"

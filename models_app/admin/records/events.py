"""The event log, in sentences."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from models_app.admin.parts import badges
from models_app.admin.parts.filters import CreatedFilter
from models_app.admin.parts.keyset import KeysetAdmin
from models_app.models import Event, Job


@admin.register(Event)
class EventAdmin(KeysetAdmin):
    empty_hint = "No events yet. Each load, switch, failure and change is listed here."
    list_display = ("when", "sentence", "name_badge", "actor")
    list_display_links = ("sentence",)
    list_filter = ("name", CreatedFilter)
    search_fields = ("subject", "message", "actor")
    search_help_text = "Model, sentence or actor"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "sentence",
                    ("name_badge", "when"),
                    ("subject", "actor"),
                    ("cause", "job"),
                    ("was", "became"),
                    "details",
                )
            },
        ),
    )

    @display(description="When")
    def when(self, event: Event) -> SafeString | str:
        return badges.moment(event.created_at)

    @display(description="What happened")
    def sentence(self, event: Event) -> str:
        return event.message or f"{event.name} {event.subject}"

    @display(description="Event")
    def name_badge(self, event: Event) -> SafeString:
        return badges.badge(event.name, badges.event_tone(event.name))

    @display(description="Before")
    def was(self, event: Event) -> SafeString | str:
        return badges.data(event.before)

    @display(description="After")
    def became(self, event: Event) -> SafeString | str:
        return badges.data(event.after)

    @display(description="Details")
    def details(self, event: Event) -> SafeString | str:
        return badges.data(event.data)

    @display(description="Job")
    def job(self, event: Event) -> SafeString | str:
        found = Job.objects.filter(pk=event.job_id).first() if event.job_id else None
        return badges.link(found)

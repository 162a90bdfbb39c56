"""The audit log: changes by the API, the console and the command line."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from models_app.admin.parts import badges, units
from models_app.admin.parts.filters import ActedFilter
from models_app.admin.parts.keyset import KeysetAdmin
from models_app.models import AuditEntry, Job


@admin.register(AuditEntry)
class AuditEntryAdmin(KeysetAdmin):
    empty_hint = "No changes yet. Each one is listed here, whether it was made by the API, the console or a command."
    list_display = ("when", "who", "what", "subject", "outcome", "channel", "client")
    list_display_links = ("what",)
    list_filter = (ActedFilter, "channel")
    search_fields = ("actor__exact", "subject__exact")
    search_help_text = "A whole actor (user:admin) or subject (a model's key)"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("who", "when"),
                    ("what", "subject"),
                    ("outcome", "job"),
                    ("channel", "client"),
                    ("method", "path"),
                    "request_id",
                    "arguments",
                )
            },
        ),
    )

    @display(description="When")
    def when(self, entry: AuditEntry) -> SafeString | str:
        return badges.moment(entry.at)

    @display(description="Who")
    def who(self, entry: AuditEntry) -> str:
        return entry.actor or "unknown"

    @display(description="What")
    def what(self, entry: AuditEntry) -> str:
        return entry.action.replace("_", " ").capitalize()

    @display(description="Outcome")
    def outcome(self, entry: AuditEntry) -> SafeString:
        if entry.status < 400:
            return badges.badge("done", "good")
        return badges.badge(f"refused: {entry.error_code or entry.status}", "bad")

    @display(description="With")
    def arguments(self, entry: AuditEntry) -> SafeString | str:
        return badges.data(entry.arguments)

    @display(description="Job")
    def job(self, entry: AuditEntry) -> SafeString | str:
        found = Job.objects.filter(pk=entry.job_id).first() if entry.job_id else None
        return badges.link(found) if found else units.NOTHING

"""Nodes: machines whose workers own runners."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from models_app.admin.parts import badges, bars, units
from models_app.admin.parts.base import MachineWrittenAdmin
from models_app.domain.states import LIVE_INSTANCE_STATES
from models_app.models import Instance, Node


@admin.register(Node)
class NodeAdmin(MachineWrittenAdmin):
    empty_hint = "No worker has started yet. Each machine that runs one is listed here with its memory."
    list_display = (
        "name",
        "state",
        "hostname",
        "memory",
        "cards",
        "model_count",
        "heartbeat",
        "version",
    )
    search_fields = ("name", "hostname")
    search_help_text = "Name or host name"
    ordering = ("name",)
    fieldsets = (
        (
            "Worker",
            {"fields": (("name", "state"), ("hostname", "address"), ("started", "heartbeat"), ("process", "version"))},
        ),
        ("Memory", {"fields": ("bar", ("memory", "budget"), "cards", "loaded")}),
        ("Models", {"fields": ("files",)}),
    )

    @display(description="State")
    def state(self, node: Node) -> SafeString:
        if node.lost_at:
            return badges.badge("does not answer", "bad")
        if node.draining_at:
            return badges.badge("draining: loads no models", "warn")
        return badges.badge("works", "good") if node.pid else badges.badge("stopped", "quiet")

    @display(description="Free memory")
    def memory(self, node: Node) -> str:
        if node.memory_total_bytes is None:
            return units.NOTHING
        return f"{units.size(node.memory_free_bytes)} of {units.size(node.memory_total_bytes)}"

    @display(description="Budget for models")
    def budget(self, node: Node) -> str:
        return units.size(node.memory_budget_bytes) if node.memory_budget_bytes else "none set"

    @display(description="Graphics cards")
    def cards(self, node: Node) -> str:
        lines = [
            f"{card['name']}: {units.size(card['memory_free_bytes'])} of {units.size(card['memory_total_bytes'])} free"
            for card in node.gpus
        ]
        return "\n".join(lines) or "none"

    @display(description="Models here")
    def model_count(self, node: Node) -> int:
        return len(node.models)

    @display(description="Last heartbeat", ordering="heartbeat_at")
    def heartbeat(self, node: Node) -> SafeString | str:
        return badges.ago(node.heartbeat_at)

    @display(description="Started")
    def started(self, node: Node) -> SafeString | str:
        return badges.moment(node.started_at)

    @display(description="Process id")
    def process(self, node: Node) -> str:
        return str(node.pid) if node.pid else units.NOTHING

    @display(description="Models in memory")
    def bar(self, node: Node) -> SafeString:
        sizes = [(instance.model.key, instance.memory_bytes or 0) for instance in _instances(node)]
        return bars.memory(sizes, room=node.memory_budget_bytes or node.memory_total_bytes)

    @display(description="Loaded")
    def loaded(self, node: Node) -> SafeString:
        return badges.table(
            ("Model", "State", "Memory", "Last used"),
            (
                (
                    badges.link(instance.model),
                    badges.badge(instance.state),
                    units.size(instance.memory_bytes),
                    badges.ago(instance.last_used_at or instance.ready_at),
                )
                for instance in _instances(node)
            ),
            "No model is loaded here.",
        )

    @display(description="Files it sees")
    def files(self, node: Node) -> str:
        return "\n".join(sorted(node.models)) or "none"


def _instances(node: Node) -> list[Instance]:
    rows = Instance.objects.filter(node=node.name, state__in=LIVE_INSTANCE_STATES)
    return list(rows.select_related("model").order_by("-memory_bytes"))

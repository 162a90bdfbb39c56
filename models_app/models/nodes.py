"""Machines whose worker owns runners, and leases for work that only one process does."""

from __future__ import annotations

from django.db import models


class Node(models.Model):
    """One machine. The row is also the lease of its worker, identified by `generation`.

    Written by `models_app.services.nodes.nodes`. Times are the database's: the clocks of machines differ.
    """

    name = models.CharField(max_length=64, unique=True)
    hostname = models.CharField(max_length=255, blank=True)
    # The worker's process; null after an orderly end.
    pid = models.PositiveIntegerField(null=True, blank=True)
    # Distinguishes it from a later process with the same number: models_app.engines.identity.
    pid_identity = models.CharField(max_length=96, blank=True, default="", db_default="")
    # Read by versions up to 0.1, which have no `pid_identity`.
    pid_started_at = models.FloatField(null=True, blank=True)
    # Counts the workers that have owned this node. Only the worker with the newest number owns it (fencing).
    generation = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    # When other nodes noticed that its heartbeat had stopped; null while heartbeats arrive.
    lost_at = models.DateTimeField(null=True, blank=True)
    memory_total_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    memory_free_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    memory_budget_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    # [{"index", "name", "memory_total_bytes", "memory_free_bytes"}]
    gpus = models.JSONField(default=list, blank=True)
    # The address at which other nodes and web processes reach its runners; empty on a single machine.
    address = models.CharField(max_length=255, blank=True)
    version = models.CharField(max_length=32, blank=True)
    # Since when no model is loaded there, because an operator is taking it out of service.
    draining_at = models.DateTimeField(null=True, blank=True)
    # Keys of the models whose files this node has. Last, because it shadows the module's name from here on.
    models = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Lease(models.Model):
    """The holder of work that only one process does, and its expiry; see `models_app.services.coordination.leases`."""

    name = models.CharField(max_length=64, primary_key=True)
    holder = models.CharField(max_length=128)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}"

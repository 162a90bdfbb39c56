"""One row per request through the gateway; see `models_app.domain.records.access.AccessRecord` for the units."""

from __future__ import annotations

from django.db import models


class GatewayProcess(models.Model):
    """One web process in the access log: the requests that it recorded, and the outcome of the records.

    `recorded` = `stored` + `dropped` + `quarantined`, once all records have been shipped.
    """

    # The prefix of the process's request ids.
    recorder = models.CharField(max_length=32, unique=True)
    node = models.CharField(max_length=64, blank=True)
    pid = models.PositiveIntegerField(null=True)
    started_at = models.DateTimeField(db_index=True)
    # When its last batch was shipped.
    seen_at = models.DateTimeField()
    recorded = models.PositiveBigIntegerField(default=0)
    stored = models.PositiveBigIntegerField(default=0)
    # Lost, and counted: neither the file nor memory had space.
    dropped = models.PositiveBigIntegerField(default=0)
    # Refused by the database or damaged, and kept in the quarantine file.
    quarantined = models.PositiveBigIntegerField(default=0)
    # Requests in progress when the process was killed; their rows are `aborted`.
    cut_off = models.PositiveBigIntegerField(default=0)
    # Whether it was killed, and its spool recovered.
    recovered = models.BooleanField(default=False)

    class Meta:
        ordering = ["-started_at"]
        verbose_name_plural = "gateway processes"

    def __str__(self) -> str:
        return f"{self.recorder} on {self.node}"


class AccessLog(models.Model):
    # Unique together with `started_at`: a batch that is delivered twice stores its rows once. On PostgreSQL each day is
    # a partition, and a unique constraint must include the partition key.
    request_id = models.CharField(max_length=64)
    started_at = models.DateTimeField(db_index=True)
    endpoint = models.CharField(max_length=64)
    key_id = models.CharField(max_length=32, blank=True)
    requested_model = models.CharField(max_length=255, blank=True)
    route = models.CharField(max_length=64, blank=True)
    model_key = models.CharField(max_length=255, blank=True)
    instance_id = models.CharField(max_length=36, blank=True)
    # The first 12 digits of the sha256 of the file that answered, and the node of its runner.
    version = models.CharField(max_length=12, blank=True, default="")
    node = models.CharField(max_length=64, blank=True, default="")
    stream = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=64, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    cached_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    # Part of the completion tokens.
    reasoning_tokens = models.PositiveIntegerField(null=True)
    # Prompt tokens that the provider stored in its cache, which have their own price.
    cache_write_tokens = models.PositiveIntegerField(null=True)
    # US dollars; null is "no price known", which is not 0.
    cost_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    provider = models.CharField(max_length=64, blank=True)
    ttft_ms = models.FloatField(null=True)
    duration_ms = models.FloatField()
    # Parts of the duration: waiting for the concurrency limit, and for the load of the model. Null is "did not wait".
    queue_ms = models.FloatField(null=True)
    load_wait_ms = models.FloatField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    client = models.CharField(max_length=64, blank=True)
    # The client's X-Request-ID; not necessarily unique.
    client_request_id = models.CharField(max_length=64, blank=True, db_index=True)
    # What the client states: see `models_app.domain.records.caller`. Null, in rows of earlier versions, is ''.
    end_user = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    session = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    tags = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    trace_id = models.CharField(max_length=32, null=True, blank=True)  # noqa: DJ001
    aborted = models.BooleanField(default=False)
    # Whether tokens and cost are estimates, since the server did not state its counts.
    estimated = models.BooleanField(default=False, db_default=False)
    # The refused requests that the row sums up. Null, in rows of earlier versions, is 1: on SQLite a column with a
    # default would copy the table.
    requests = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "access log row"
        verbose_name_plural = "access log"
        constraints = [models.UniqueConstraint(fields=["request_id", "started_at"], name="one_row_per_request")]
        # Serve a page of the newest rows of one model or key without sorting.
        indexes = [
            models.Index(fields=["model_key", "-id"], name="access_by_model"),
            models.Index(fields=["key_id", "-id"], name="access_by_key"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.status} {self.request_id}"

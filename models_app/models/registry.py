"""The registry: providers, models, and the versions of each model."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Value
from django.db.models.functions import Concat, Lower

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import ModelStatus
from models_app.models.choices import choices_of


class Provider(models.Model):
    """A source of models: files of the nodes, or a remote server."""

    slug = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16, choices=choices_of(ProviderKind))
    name = models.CharField(max_length=100, blank=True)
    base_url = models.CharField(max_length=500, blank=True)
    enabled = models.BooleanField(default=True)
    # The API key, encrypted by `models_app.services.coordination.secrets`; or the name of the environment variable that
    # holds it.
    secret = models.TextField(blank=True, editable=False)
    secret_env = models.CharField(max_length=100, blank=True)
    # A private address is refused unless this is set: NOA must not give access to its own network.
    allow_private_addresses = models.BooleanField(default=False)
    # Seconds: {"connect", "first_byte", "idle", "total"}; a missing one has the gateway's default.
    timeouts = models.JSONField(default=dict, blank=True)
    # `api`, `console`, `environment` or `built-in`: where it was created, and so where it can be changed.
    origin = models.CharField(max_length=16, default="api")
    # The circuit breaker as a web process last reported it: closed, open or half_open.
    breaker = models.CharField(max_length=16, default="closed", editable=False)
    breaker_reason = models.CharField(max_length=500, blank=True, editable=False)
    breaker_changed_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the last request, test or discovery met, a `Contact`, and until when the provider gets no requests.
    contact = models.CharField(max_length=16, default="not_tried", db_default="not_tried", editable=False)
    contact_at = models.DateTimeField(null=True, blank=True, editable=False)
    contact_reason = models.CharField(max_length=500, blank=True, db_default="", editable=False)
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    discovered_at = models.DateTimeField(null=True, blank=True, editable=False)
    discovery_error = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name or self.slug


def index_of(words: list[str]) -> str:
    """Words as `,chat_completion,streaming,`, which every database can search."""
    return f",{','.join(words)}," if words else ""


def words_of(index: str) -> list[str]:
    return index[1:-1].split(",") if index else []


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def with_capability(self, capability: str) -> RegisteredModelQuerySet:
        """Capabilities are stored as `,chat_completion,streaming,`, so that every database can search them."""
        return self.filter(capability_index__contains=f",{capability},")

    def with_proven(self, capability: str) -> RegisteredModelQuerySet:
        """As `with_capability`, for capabilities that a probe has shown."""
        return self.filter(proven_index__contains=f",{capability},")


class RegisteredModel(models.Model):
    """One entry of the registry. Its public name is `key`, `<provider>:<model id>`."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    model_id = models.CharField(max_length=190)
    key = models.CharField(max_length=255, unique=True)
    # The provider's name of the model, if that cannot be a model id: llama-server names models by their path.
    remote_id = models.CharField(max_length=255, blank=True, editable=False)
    name = models.CharField(max_length=190, blank=True)
    description = models.TextField(blank=True)
    status = models.CharField(
        max_length=16, choices=choices_of(ModelStatus), default=ModelStatus.AVAILABLE, db_index=True
    )
    # Why the status is `failed`: the stage that failed, a sentence, and when.
    failure_stage = models.CharField(max_length=32, blank=True)
    failure_reason = models.TextField(blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    deprecated = models.BooleanField(default=False)
    # Why, and what to use instead.
    deprecation_note = models.TextField(blank=True)
    # The desired state: a node loads these again when it restarts.
    wanted = models.BooleanField(default=False)
    # The number of instances that it should have, each on another node.
    replicas = models.PositiveSmallIntegerField(default=1)
    capability_index = models.CharField(max_length=255, blank=True, default="", editable=False)
    # As `capability_index`, for capabilities that a probe has shown for the present version.
    proven_index = models.CharField(max_length=255, blank=True, default="", editable=False)
    context_window = models.PositiveBigIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    # Pinned models are never evicted; lower priorities are evicted before higher ones.
    pinned = models.BooleanField(default=False)
    priority = models.PositiveSmallIntegerField(default=50)
    # Seconds without a request until it is unloaded (0: never), and its minimum residency; null: the server's setting.
    idle_ttl_seconds = models.PositiveIntegerField(null=True, blank=True)
    min_residency_seconds = models.PositiveIntegerField(null=True, blank=True)
    # Whether a request can load it.
    on_demand = models.BooleanField(default=True)
    # Options of the next load; see models_app.domain.catalog.options.
    load_options = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    tag_index = models.TextField(blank=True, default="", editable=False)
    # The text that a search compares: one column in place of three.
    search_text = models.GeneratedField(
        expression=Lower(
            Concat(
                "key",
                Value("\n"),
                "name",
                Value("\n"),
                "description",
                output_field=models.TextField(),
            )
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
    metadata = models.JSONField(default=dict, blank=True)
    # US dollars per million tokens: {"input", "output", "cached_input", "cache_write", "source", "tiers"}; null means
    # unknown.
    price = models.JSONField(null=True, blank=True)
    # When its file was missing, or its provider no longer listed it.
    gone_at = models.DateTimeField(null=True, blank=True)
    # Reads of the entry and requests to the model, counted in memory and written periodically.
    access_count = models.PositiveBigIntegerField(default=0, editable=False)
    last_accessed_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Requests through the gateway, and their exponentially weighted averages; null until there was one.
    inference_count = models.PositiveBigIntegerField(default=0, editable=False)
    average_latency_ms = models.FloatField(null=True, editable=False)
    average_success_rate = models.FloatField(null=True, editable=False)
    average_tokens_per_second = models.FloatField(null=True, editable=False)
    version = models.ForeignKey("ModelVersion", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = RegisteredModelQuerySet.as_manager()

    class Meta:
        ordering = ["key"]
        verbose_name = "model"
        constraints = [models.UniqueConstraint(fields=["provider", "model_id"], name="one_entry_per_model")]

    def __str__(self) -> str:
        return self.key

    def set_tags(self, tags: list[str]) -> None:
        """Set the tags and their index, without saving."""
        self.tags = tags
        self.tag_index = index_of(tags)

    @property
    def capabilities(self) -> list[str]:
        return words_of(self.capability_index)

    @capabilities.setter
    def capabilities(self, values: list[str]) -> None:
        self.capability_index = index_of(values)


class ModelVersion(models.Model):
    """One version of a registered model. Rows are never changed."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="versions")
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=4096)
    size_bytes = models.PositiveBigIntegerField()
    # Modification time in nanoseconds; decides, with path and size, whether a file must be read again.
    file_mtime_ns = models.BigIntegerField()
    quantization = models.CharField(max_length=32, blank=True)
    architecture = models.CharField(max_length=64, blank=True)
    template_digest = models.CharField(max_length=64, blank=True)
    # Everything else in the header: models_app.domain.catalog.gguf.GgufMetadata as a dictionary.
    header: Any = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["model", "sha256", "path"], name="one_version_per_digest")]

    def __str__(self) -> str:
        return f"{self.model.key} {self.sha256[:12]}"


class ModelFile(models.Model):
    """A model's file on one node's disk. The path and the time can differ from node to node."""

    node = models.CharField(max_length=64)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="files")
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=4096)
    size_bytes = models.PositiveBigIntegerField()
    file_mtime_ns = models.BigIntegerField()
    seen_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["node", "model"]
        constraints = [models.UniqueConstraint(fields=["node", "model"], name="one_file_per_node_and_model")]

    def __str__(self) -> str:
        return f"{self.node}: {self.path}"

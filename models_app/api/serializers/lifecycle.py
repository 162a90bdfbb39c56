"""Bodies of the verbs that change what is loaded."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.api.serializers.entries import LOAD_OPTIONS
from models_app.api.serializers.inputs import ModelNameInput
from models_app.api.serializers.names import NodeField, RouteField
from models_app.domain.routing import CURRENT_ROUTE


@extend_schema_field(LOAD_OPTIONS | {"nullable": False})
class OptionsField(serializers.DictField):
    """Load options; `models_app.domain.options` is what checks them."""


class LoadInput(ModelNameInput):
    options = OptionsField(
        required=False,
        default=dict,
        help_text="n_ctx, slots, n_batch, n_threads, n_gpu_layers; what is left out, NOA chooses.",
    )
    node = NodeField(
        required=False,
        default="",
        max_length=63,
        help_text="Where an instance is wanted, beside those on other nodes; left out, NOA chooses.",
    )


class UnloadInput(ModelNameInput):
    node = NodeField(
        required=False,
        default="",
        max_length=63,
        help_text="Only the instance there; left out, all of them.",
    )


class SwitchInput(ModelNameInput):
    route = RouteField(required=False, default=CURRENT_ROUTE, max_length=64)
    keep_previous = serializers.BooleanField(
        required=False, default=False, help_text="Leave the model that the route led to loaded."
    )

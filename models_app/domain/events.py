"""The names of the facts that NOA stores and streams."""

from __future__ import annotations

from enum import StrEnum


class EventName(StrEnum):
    INITIALIZED = "initialized"
    PROVIDER_DISCOVERED = "provider-discovered"
    MODEL_REGISTERED = "model-registered"
    MODEL_UPDATED = "model-updated"
    MODEL_LOADING = "model-loading"
    MODEL_WARMING_UP = "model-warming-up"
    MODEL_WARMED_UP = "model-warmed-up"
    MODEL_LOADED = "model-loaded"
    MODEL_LOAD_FAILED = "model-load-failed"
    MODEL_UNLOADED = "model-unloaded"
    MODEL_SWITCHED = "model-switched"
    SWITCH_FAILED = "switch-failed"
    INSTANCE_FAILED = "instance-failed"
    STATE_RESTORED = "state-restored"

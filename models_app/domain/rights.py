"""The right to each operation: one table, which the REST API and the console apply.

A key needs the scope. A member of staff needs all permissions of Django that the row names; superusers have all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from models_app.domain.scopes import Scope, allows


class Binding(StrEnum):
    """What an operation is about, for keys that are bound to models and routes by `allowed_models`."""

    # Reads: a key with `read` sees the whole registry, whatever it can change.
    READS = "any"
    # The path names a model or a route.
    PATH = "its own"
    # The body or the stored object names models and routes; the view checks each of them.
    NAMED = "all that it names"
    # It concerns every model, a node, a provider or other keys' requests.
    EVERYTHING = "none"
    # API keys: a key can give, change and revoke what it has itself; see `domain.granting`.
    GRANTS = "within its own"


# `staff` of an operation for superusers only.
SUPERUSER = None
# `staff` of an operation for every member of staff who has a permission.
ANY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """scope    what an API key needs; None is any scope
    staff    codenames of the permissions that a member of staff needs, all of them
    binding  what a bound key can apply the operation to
    """

    scope: Scope | None
    staff: tuple[str, ...] | None
    binding: Binding = Binding.READS


def _read(*staff: str) -> Right:
    return Right(Scope.READ, staff)


def _operate(binding: Binding, *staff: str) -> Right:
    return Right(Scope.OPERATE, staff, binding)


def _admin(binding: Binding, *staff: str) -> Right:
    return Right(Scope.ADMIN, staff or SUPERUSER, binding)


_MODELS, _ROUTES = "view_registeredmodel", "view_route"
_CHANGE, _MOVE = "change_registeredmodel", "change_route"

RIGHTS: Mapping[str, Right] = {
    # Models
    "list_models": _read(_MODELS),
    "list_models_of_provider": _read(_MODELS),
    "get_model": _read(_MODELS),
    "list_model_versions": _read(_MODELS),
    "list_model_instances": _read(_MODELS),
    "get_model_history": _read(_MODELS),
    "get_capabilities": _read(_MODELS),
    "list_loaded_models": _read("view_instance"),
    "get_current_model": _read(_MODELS, _ROUTES),
    "register_model": _operate(Binding.NAMED, "add_registeredmodel", _CHANGE),
    "update_model": _operate(Binding.PATH, _CHANGE),
    "edit_model_tags": _operate(Binding.PATH, _CHANGE),
    "deregister_model": _operate(Binding.PATH, "delete_registeredmodel"),
    "load_model": _operate(Binding.NAMED, _CHANGE),
    "unload_model": _operate(Binding.NAMED, _CHANGE),
    "switch_model": _operate(Binding.NAMED, _MOVE),
    "discover_models": _operate(Binding.EVERYTHING, _CHANGE),
    "probe_capabilities": _operate(Binding.PATH, _CHANGE),
    # The registry as a file
    "export_registry": _read(_MODELS, _ROUTES, "view_provider"),
    "import_registry": _admin(Binding.EVERYTHING),
    # Figures
    "get_model_usage": _read(_MODELS, "view_accesslog"),
    "get_statistics": _read(_MODELS, "view_accesslog"),
    "get_live_metrics": _read("view_accesslog"),
    "get_metrics_series": _read("view_accesslog"),
    # Profiles
    "list_profiles": _read("view_profilerun"),
    "list_profiles_of_model": _read("view_profilerun"),
    "get_profile": _read("view_profilerun"),
    "export_profile": _read("view_profilerun"),
    "compare_profiles": _read("view_profilerun"),
    "profile_model": _operate(Binding.PATH, _CHANGE),
    "mark_baseline": _operate(Binding.NAMED, _CHANGE),
    # Requests through the gateway
    "list_access_log": _read("view_accesslog"),
    "get_access_log": _read("view_accesslog"),
    "get_access_report": _read("view_accesslog"),
    "get_access_texts": _admin(Binding.EVERYTHING),
    "list_text_rules": _admin(Binding.EVERYTHING),
    "set_text_rule": _admin(Binding.EVERYTHING),
    "delete_text_rule": _admin(Binding.EVERYTHING),
    # Routes
    "list_routes": _read(_ROUTES),
    "get_route": _read(_ROUTES),
    "list_route_changes": _read(_ROUTES),
    "get_auto_switch": _read(_ROUTES),
    "preview_auto_switch": _read(_ROUTES),
    "create_route": _operate(Binding.NAMED, "add_route"),
    "update_route": _operate(Binding.NAMED, _MOVE),
    "delete_route": _operate(Binding.PATH, "delete_route"),
    "roll_back_route": _operate(Binding.NAMED, _MOVE),
    # Its rule can move a route to any model.
    "put_auto_switch": _operate(Binding.EVERYTHING, _MOVE),
    "delete_auto_switch": _operate(Binding.PATH, _MOVE),
    # The desired state
    "get_state": _read(_MODELS, _ROUTES),
    "list_snapshots": _read("view_statesnapshot"),
    "get_snapshot": _read("view_statesnapshot"),
    "save_state": _operate(Binding.EVERYTHING, "add_statesnapshot"),
    "import_snapshot": _operate(Binding.EVERYTHING, "add_statesnapshot"),
    "delete_snapshot": _operate(Binding.EVERYTHING, "delete_statesnapshot"),
    "restore_state": _operate(Binding.EVERYTHING, _CHANGE, _MOVE),
    # Jobs, events, nodes
    "list_jobs": _read("view_job"),
    "get_job": _read("view_job"),
    "cancel_job": _operate(Binding.NAMED, _CHANGE),
    "list_events": _read("view_event"),
    "get_event": _read("view_event"),
    "list_nodes": _read("view_node"),
    "get_node": _read("view_node"),
    "drain_node": _operate(Binding.EVERYTHING, "change_node"),
    "resume_node": _operate(Binding.EVERYTHING, "change_node"),
    "delete_node": _admin(Binding.EVERYTHING, "delete_node"),
    # Providers: an address decides where requests and keys are sent.
    "list_providers": _read("view_provider"),
    "get_provider": _read("view_provider"),
    "create_provider": _admin(Binding.EVERYTHING),
    "update_provider": _admin(Binding.EVERYTHING),
    "delete_provider": _admin(Binding.EVERYTHING),
    "test_provider": _admin(Binding.EVERYTHING),
    # Webhooks receive all events.
    "list_webhooks": _admin(Binding.EVERYTHING),
    "get_webhook": _admin(Binding.EVERYTHING),
    "list_webhook_deliveries": _admin(Binding.EVERYTHING),
    "create_webhook": _admin(Binding.EVERYTHING),
    "update_webhook": _admin(Binding.EVERYTHING),
    "delete_webhook": _admin(Binding.EVERYTHING),
    "test_webhook": _admin(Binding.EVERYTHING),
    # Access
    "list_api_keys": _admin(Binding.READS, "view_apikey"),
    "get_api_key": _admin(Binding.READS, "view_apikey"),
    "create_api_key": _admin(Binding.GRANTS, "add_apikey"),
    "update_api_key": _admin(Binding.GRANTS),
    "revoke_api_key": _admin(Binding.GRANTS, "change_apikey"),
    "list_audit": _admin(Binding.READS, "view_auditentry"),
    "who_am_i": Right(None, ANY),
}

# Fields of a model that need `admin`, or a superuser: a price decides what budgets are worth.
ADMIN_FIELDS = frozenset({"price"})


def key_may(scopes: frozenset[str], operation: str) -> bool:
    """Whether a key with these scopes can call the operation."""
    needed = RIGHTS[operation].scope
    return bool(scopes) if needed is None else allows(scopes, needed)


def staff_may(has: Callable[[str], bool], operation: str) -> bool:
    """Whether a member of staff can call the operation. `has` says whether they have a permission, by its codename."""
    needed = RIGHTS[operation].staff
    return needed is not None and all(has(name) for name in needed)


def scopes_of_staff(has: Callable[[str], bool]) -> frozenset[Scope]:
    """The scopes all of whose operations a member of staff can call: the most that a key of theirs may have."""
    return frozenset(
        scope
        for scope, below in ((Scope.READ, {Scope.READ}), (Scope.OPERATE, {Scope.READ, Scope.OPERATE}))
        if all(staff_may(has, name) for name, right in RIGHTS.items() if right.scope in below)
    )

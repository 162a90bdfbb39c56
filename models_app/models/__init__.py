"""The ORM: data, constraints and querysets; no business logic."""

from models_app.models.access import AccessLog
from models_app.models.events import Event
from models_app.models.instances import Instance
from models_app.models.jobs import Job
from models_app.models.keys import ApiKey
from models_app.models.registry import ModelVersion, Provider, RegisteredModel
from models_app.models.routes import Route, RouteChange, RoutingRevision

__all__ = [
    "AccessLog",
    "ApiKey",
    "Event",
    "Instance",
    "Job",
    "ModelVersion",
    "Provider",
    "RegisteredModel",
    "Route",
    "RouteChange",
    "RoutingRevision",
]

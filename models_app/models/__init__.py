"""The ORM: data, constraints and querysets; no business logic."""

from models_app.models.access import AccessLog, GatewayProcess
from models_app.models.activity import Activity, Traffic
from models_app.models.audit import AuditEntry, IdempotencyKey
from models_app.models.autoswitch import AutoSwitch
from models_app.models.capabilities import CapabilityEvidence
from models_app.models.demand import Demand, Suspect
from models_app.models.events import Event
from models_app.models.instances import Instance
from models_app.models.jobs import Job
from models_app.models.keys import ApiKey
from models_app.models.ledger import LedgerEntry, LoadMeasurement
from models_app.models.log_ins import LogInTally
from models_app.models.nodes import Lease, Node
from models_app.models.profiling import ProfileRun, ProfileSample
from models_app.models.recovery import Recovery
from models_app.models.registry import ModelFile, ModelVersion, Provider, RegisteredModel
from models_app.models.routes import Route, RouteChange, RoutingRevision
from models_app.models.snapshots import StateSnapshot
from models_app.models.texts import AccessText, TextRule
from models_app.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "AccessLog",
    "AccessText",
    "Activity",
    "ApiKey",
    "AuditEntry",
    "AutoSwitch",
    "CapabilityEvidence",
    "Demand",
    "Event",
    "GatewayProcess",
    "IdempotencyKey",
    "Instance",
    "Job",
    "Lease",
    "LedgerEntry",
    "LoadMeasurement",
    "LogInTally",
    "ModelFile",
    "ModelVersion",
    "Node",
    "ProfileRun",
    "ProfileSample",
    "Provider",
    "Recovery",
    "RegisteredModel",
    "Route",
    "RouteChange",
    "RoutingRevision",
    "StateSnapshot",
    "Suspect",
    "TextRule",
    "Traffic",
    "Webhook",
    "WebhookDelivery",
]

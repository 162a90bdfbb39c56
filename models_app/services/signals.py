"""Django signals for code in the same process; sent after the transaction has been committed."""

from __future__ import annotations

from django.dispatch import Signal

# event: models_app.models.Event
event_published = Signal()

# No arguments: whoever holds a snapshot of the routing reads a new one.
routing_changed = Signal()

# job: models_app.models.Job, in its final state
job_finished = Signal()

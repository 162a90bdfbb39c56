"""Django signals for code in this process; sent after the transaction has been committed."""

from __future__ import annotations

from django.dispatch import Signal

# event: models_app.models.Event. Sent in the thread that published it; what a receiver raises is logged, no more.
event_published = Signal()

# No arguments: another process has changed something. Sent in the thread that heard of it.
stirred = Signal()

# No arguments: whoever holds a snapshot of the routing reads a new one.
routing_changed = Signal()

# job: models_app.models.Job, in its final state
job_finished = Signal()

# No arguments: a model is to be brought back, or has come back; the worker looks.
recovery_due = Signal()

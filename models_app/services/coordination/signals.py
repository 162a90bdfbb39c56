"""Django signals for code in this process; sent after the transaction has been committed."""

from __future__ import annotations

from django.dispatch import Signal

# event: models_app.models.Event. Sent in the publishing thread; an exception in a receiver is logged only.
event_published = Signal()

# No arguments: another process has committed a change. Sent in the thread that received the notification.
database_changed = Signal()

# No arguments: receivers that hold a snapshot of the routing read a new one.
routing_changed = Signal()

# job: models_app.models.Job, in its final state
job_finished = Signal()

# No arguments: a recovery is due or has ended; the worker checks all recoveries.
recovery_due = Signal()

"""Leases: periodic work that only one process does. The database's clock decides, not those of the machines.

It can be set too. After a step forward a lease ends early, and the work runs once more than needed, which it must bear
in any case: its holder can stand still in the middle of it. After a step back a lease seems to end too late; one that
seems to last longer than any lease of its name was made before the step, and is free.
"""

from __future__ import annotations

import os
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from models_app.models import Lease

# Beyond the longest lease of its name: intervals vary a little from call to call.
_TOLERANCE_SECONDS = 5.0


def claim(*, name: str, seconds: float) -> bool:
    """Acquire or renew the lease for `seconds`; False while another process holds it."""
    until = Now() + timedelta(seconds=seconds)
    set_back = Q(until__gt=Now() + timedelta(seconds=max(0.0, seconds) + _TOLERANCE_SECONDS))
    free = Q(until__lte=Now()) | Q(holder=holder()) | set_back
    if Lease.objects.filter(free, name=name).update(holder=holder(), until=until):
        return True
    try:
        with transaction.atomic():
            Lease.objects.create(name=name, holder=holder(), until=until)
    except IntegrityError:
        return False
    return True


def holder() -> str:
    """The name of this process in leases."""
    return f"{settings.NOA_NODE}/{os.getpid()}"

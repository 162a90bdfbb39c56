"""Leases: periodic work that only one process does. The database's clock decides, not those of the machines."""

from __future__ import annotations

import os
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from models_app.models import Lease


def claim(*, name: str, seconds: float) -> bool:
    """Acquire or renew the lease for `seconds`; False while another process holds it."""
    until = Now() + timedelta(seconds=seconds)
    free = Q(until__lte=Now()) | Q(holder=holder())
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

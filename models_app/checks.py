"""System checks of NOA's settings: the command `check` runs them with Django's own."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from models_app.domain.measuring import diagnosis
from models_app.domain.traffic import limits


@register()
def every_variable_is_a_setting(**_: Any) -> list[CheckMessage]:
    unknown = diagnosis.unknown_variables(os.environ, settings.NOA_VARIABLES)
    return [Warning(finding.what, hint=finding.todo, id="noa.W001") for finding in unknown]


@register()
def limits_can_be_held(**_: Any) -> list[CheckMessage]:
    counted = any(settings.NOA_KEY_LIMITS.get(name) for name in limits.COUNTED)
    alone = settings.NOA_EMBEDDED and settings.NOA_WEB_PROCESSES == 1
    if not counted or alone or settings.NOA_LIMITS_URL is not None:
        return []
    return [
        Error(
            "NOA_KEY_LIMITS needs a common counter, as several processes serve.",
            hint="Set NOA_REDIS_URL, or use Redis as NOA_BROKER_URL.",
            id="noa.E001",
        )
    ]

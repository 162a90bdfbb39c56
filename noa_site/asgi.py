"""The ASGI application of a web process: the gateway serves /v1, Django serves the rest."""

from __future__ import annotations

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")
django_application = get_asgi_application()

# After Django's applications are loaded.
from models_app.gateway.site.site import Site  # noqa: E402

application = Site(cast(Any, django_application))

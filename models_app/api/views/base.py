"""What all views of the management API have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rest_framework.views import APIView

from models_app.domain.scopes import Scope


class ManagementView(APIView):
    """Every view derives from it. `scopes` names the scope of a method where the default does not fit."""

    scopes: ClassVar[Mapping[str, Scope]] = {}

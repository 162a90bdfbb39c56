"""The log-in page: Django's, with a brake on failed log-ins."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from models_app.domain.errors import NoaError
from models_app.services.log_ins import brake


class BrakedForm(AuthenticationForm):
    """Raises RateLimited before a password is hashed, and Unavailable where too many are; both become pages."""

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not username or not password:
            return dict(super().clean())
        attempt = brake.begin(username=username, address=self.request.META.get("REMOTE_ADDR") or "")
        try:
            cleaned = dict(super().clean())
        except ValidationError:
            # A wrong password, or an account that is not one of staff.
            brake.fail(attempt)
            raise
        except NoaError:
            brake.withdraw(attempt)
            raise
        brake.succeed(attempt)
        return cleaned


admin.site.login_form = BrakedForm

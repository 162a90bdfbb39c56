"""The form fields of an API key's limits."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from models_app.domain.errors import NoaError
from models_app.domain.traffic import limits
from models_app.services.api_keys import budgets

_EMPTY = "Empty: the default of all keys. 0: no limit."
_WHOLE = ("requests_per_minute", "tokens_per_minute", "max_concurrent", "monthly_tokens")
LIMIT_FIELDS = (*_WHOLE, "monthly_budget_usd", "addresses")


def _whole(label: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, required=False, min_value=0, widget=UnfoldAdminTextInputWidget(), help_text=_EMPTY
    )


class LimitsForm(forms.Form):
    """Fields of limits; `cleaned_data["limits"]` has the form that `models_app.services.api_keys.keys` expects."""

    requests_per_minute = _whole("Requests per minute")
    tokens_per_minute = _whole("Tokens per minute")
    max_concurrent = _whole("Requests at once")
    monthly_tokens = _whole("Tokens per month")
    monthly_budget_usd = forms.FloatField(
        label="US dollars per month",
        required=False,
        min_value=0,
        widget=UnfoldAdminTextInputWidget(),
        help_text=_EMPTY,
    )
    addresses = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Addresses and networks that can use it, separated by commas. Empty: all.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        values = {name: cleaned.get(name) for name in LIMIT_FIELDS}
        words = str(values.pop("addresses") or "").split(",")
        values["addresses"] = [word.strip() for word in words if word.strip()]
        try:
            cleaned["limits"] = limits.checked(values)
            budgets.require_exact(cleaned["limits"])
        except NoaError as error:
            place = (error.param or "").rpartition(".")[2]
            self.add_error(place if place in LIMIT_FIELDS else None, error.message)
        return cleaned

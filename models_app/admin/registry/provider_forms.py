"""Forms of providers. A stored key is never shown in its field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from pydantic import SecretStr
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.catalog.providers import MAX_SECRET_LENGTH, TIMEOUT_LIMITS
from models_app.domain.errors import NoaError
from models_app.domain.provider_kinds import KINDS, ProviderKind
from models_app.models import Provider
from models_app.services.registry import provider_settings

_COLUMNS = ("name", "base_url", "allow_private_addresses", "enabled", "secret_env")


def _seconds(name: str, label: str) -> forms.FloatField:
    low, high = TIMEOUT_LIMITS[name]
    return forms.FloatField(
        label=label,
        required=False,
        min_value=low,
        max_value=high,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Seconds; empty is NOA's default.",
    )


class ProviderForm(forms.ModelForm):
    """The editable fields of a remote provider."""

    api_key = forms.CharField(
        label="API key",
        required=False,
        strip=False,
        max_length=MAX_SECRET_LENGTH,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown. Empty: unchanged.",
    )
    forget_key = forms.BooleanField(label="Delete the key", required=False, widget=UnfoldBooleanSwitchWidget())
    connect = _seconds("connect", "Connect")
    first_byte = _seconds("first_byte", "First byte")
    idle = _seconds("idle", "Between bytes")
    total = _seconds("total", "Whole answer")

    class Meta:
        model = Provider
        fields: tuple[str, ...] = _COLUMNS
        widgets = {
            "name": UnfoldAdminTextInputWidget(),
            "base_url": UnfoldAdminTextInputWidget(),
            "secret_env": UnfoldAdminTextInputWidget(),
            "enabled": UnfoldBooleanSwitchWidget(),
            "allow_private_addresses": UnfoldBooleanSwitchWidget(),
        }
        labels = {"base_url": "Base URL", "secret_env": "or the variable with the key"}
        help_texts = {
            "base_url": "With its version path, like http://127.0.0.1:11434/v1. Empty: the default of its kind.",
            "secret_env": "An environment variable of the server, in place of the key.",
            "allow_private_addresses": "Allows NOA to connect to it in a private network, or on this machine.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in TIMEOUT_LIMITS:
            if name in self.fields:
                self.fields[name].initial = (self.instance.timeouts or {}).get(name)

    def settings(self) -> dict[str, Any]:
        """The fields as keyword arguments of `ProviderSettings`."""
        cleaned = self.cleaned_data
        found: dict[str, Any] = {name: cleaned[name] for name in _COLUMNS}
        found["timeouts"] = {name: cleaned[name] for name in TIMEOUT_LIMITS}
        if cleaned["api_key"]:
            found["api_key"] = SecretStr(cleaned["api_key"])
            # An unchanged variable is the form's initial value, not a second secret.
            if "secret_env" not in self.changed_data:
                found["secret_env"] = None
        elif cleaned["forget_key"]:
            found["api_key"], found["secret_env"] = SecretStr(""), ""
        return found

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and cleaned:
            try:
                self.check()
            except NoaError as error:
                field = (error.param or "").partition(".")[2] or error.param
                self.add_error(field if field in self.fields else None, error.message)
        return cleaned

    def check(self) -> None:
        provider = Provider.objects.get(pk=self.instance.pk)
        fields = self.settings()
        # An unchanged variable is not part of the change.
        if fields["secret_env"] == provider.secret_env:
            fields["secret_env"] = None
        provider_settings.check_change(
            provider=provider, settings=provider_settings.merge(provider=provider, fields=fields)
        )


class NewProviderForm(ProviderForm):
    slug = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget(),
        help_text="The part of its models' keys before the colon, like openai or vllm.",
    )
    kind = forms.ChoiceField(
        choices=[(kind.value, row.label) for kind, row in KINDS.items()],
        widget=UnfoldAdminSelectWidget(),
    )

    class Meta(ProviderForm.Meta):
        fields = ("slug", "kind", *_COLUMNS)

    def new_settings(self) -> ProviderSettings:
        return ProviderSettings(kind=ProviderKind(self.cleaned_data["kind"]), **self.settings())

    def check(self) -> None:
        provider_settings.check_new(slug=self.cleaned_data["slug"], settings=self.new_settings())


class ProviderDialog(BaseDialogForm):
    """A dialog about one provider; 404 when it does not exist."""

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        text = str(object_id)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        self.provider = get_object_or_404(Provider, pk=number)

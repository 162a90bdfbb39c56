"""A plugin of mypy: a setting that noa_site/settings.py hands on by its loop has the type of its field in `Config`.

`settings.NOA_LOAD_TIMEOUT` is `Config.load_timeout`, a float. Other settings are left to the plugin of django-stubs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from mypy.checker import TypeChecker
from mypy.nodes import MemberExpr, MypyFile, TypeInfo
from mypy.plugin import AttributeContext, Plugin
from mypy.types import Type
from mypy_django_plugin.lib.fullnames import DUMMY_SETTINGS_BASE_CLASS
from mypy_django_plugin.main import NewSemanalDjangoPlugin

SETTINGS, CONFIG = "noa_site.settings", "noa_site.config"
# Mypy's number for a dependency of medium priority; -1: on no line.
DEPENDENCY = (10, CONFIG, -1)


class HandedOnSettings(NewSemanalDjangoPlugin):
    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        # A changed type of a field has what reads the setting checked again.
        return [*super().get_additional_deps(file), *([DEPENDENCY] if file.fullname == "django.conf" else [])]

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        django = super().get_attribute_hook(fullname)
        # Of the name and of `__getattr__`: mypy calls both.
        if django is None or fullname.rpartition(".")[0] != DUMMY_SETTINGS_BASE_CLASS:
            return django
        return lambda context: _field_type(context) or django(context)


def _field_type(context: AttributeContext) -> Type | None:
    """None for a setting that the module of settings assigns itself, and for one that is no field."""
    assert isinstance(context.context, MemberExpr)
    name = context.context.name
    modules = cast(TypeChecker, context.api).modules
    if not name.startswith("NOA_") or name in modules[SETTINGS].names:
        return None
    config = modules[CONFIG].names["Config"].node
    assert isinstance(config, TypeInfo)
    field = config.names.get(name.removeprefix("NOA_").lower())
    return field.type if field else None


def plugin(version: str) -> type[Plugin]:
    return HandedOnSettings

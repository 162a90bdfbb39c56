"""Settings from files: `NAME_FILE` names a file whose content is the value of `NAME`, such as a container secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

SUFFIX = "_FILE"


class FileSource(PydanticBaseSettingsSource):
    """A source of every setting. Raises ValueError for an unreadable file, and if both variables are set."""

    def __init__(self, settings_class: type[BaseSettings], prefix: str) -> None:
        super().__init__(settings_class)
        self._prefix = prefix

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = str(field.validation_alias or f"{self._prefix}{field_name.upper()}")
        key = str(field.validation_alias or field_name)
        path = os.environ.get(variable + SUFFIX)
        if not path:
            return None, key, False
        if variable in os.environ:
            raise ValueError(f"{variable} and {variable}{SUFFIX} are both set: set one of them")
        try:
            return Path(path).read_text().strip(), key, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ValueError(f"{variable}{SUFFIX}: '{path}' cannot be read: {reason}") from None

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found

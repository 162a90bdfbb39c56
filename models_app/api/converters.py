"""URL converters. A key holds ':', a provider slug never does: that tells them apart."""

from __future__ import annotations


class ModelKeyConverter:
    regex = r"[^/:]+:.+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class ProviderConverter:
    regex = r"[^/:]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value

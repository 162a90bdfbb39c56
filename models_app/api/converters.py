"""URL converters. A model key contains ':', a provider slug never does: that distinguishes them."""

from __future__ import annotations


class ModelKeyConverter:
    # No slash at the end: Django would redirect 'a:' to 'a:/', as that would be a key.
    regex = r"[^/:]+:.*[^/]"

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

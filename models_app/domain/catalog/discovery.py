"""The result of a discovery, for one provider."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models_app.domain.errors import NoaError


@dataclass(slots=True)
class ProviderReport:
    """Keys of models, except `refused`: entries that are not usable models, each with `name` and `reason`.

    found   the number of the provider's models, refused ones left out
    failed  `code` and `message` when the provider could not be reached
    """

    found: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unchanged: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)
    failed: dict[str, str] | None = None

    @classmethod
    def failure(cls, error: NoaError) -> ProviderReport:
        return cls(failed={"code": error.code, "message": error.message})

    def refuse(self, name: str, reason: str) -> None:
        self.refused.append({"name": name, "reason": reason})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def counts(self) -> dict[str, int]:
        return {
            "found": self.found,
            "new": len(self.new),
            "changed": len(self.changed),
            "gone": len(self.gone),
            "unchanged": self.unchanged,
            "refused": len(self.refused),
        }

    def sentence(self) -> str:
        """The counts in words."""
        return ", ".join(f"{count} {word}" for word, count in self.counts().items())

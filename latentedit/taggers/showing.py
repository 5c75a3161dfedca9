"""How taggers show themselves: a line, and in a notebook a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentedit.pictures.notebook import facts_html, few

if TYPE_CHECKING:
    from latentedit.taggers.base import Tagger


class Shown:
    """Mixin of taggers: ``repr`` and ``_repr_html_``."""

    def __repr__(self: Tagger) -> str:
        name = getattr(self, "name", "")
        count = f"{len(self.tags)} tag{'' if len(self.tags) == 1 else 's'}"
        return f"{type(self).__name__}({f'{name!r}, ' if name else ''}{count}: {few(self.tags, 6)}; {self.id})"

    def _repr_html_(self: Tagger) -> str:
        """Its facts as a table."""
        exceptions = [f"{tag} {limit:g}" for tag, limit in getattr(self, "thresholds", {}).items()]
        facts: dict[str, object] = {
            "name": getattr(self, "name", ""),
            "id": self.id,
            "tags": f"{len(self.tags)}: {few(self.tags)}",
            "threshold": f"{self.threshold:g}" + (f"; {few(exceptions)}" if exceptions else ""),
            **getattr(self, "settings", {}),
        }
        return facts_html(type(self).__name__, {key: fact for key, fact in facts.items() if fact})

"""How generators show themselves: a line, and in a notebook a table with a few pictures."""

from __future__ import annotations

from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator, picture_size
from latentedit.pictures.notebook import facts_html, few, pictures_html

_QUICK = 256  # resolution up to which four pictures take no time worth speaking of; of larger ones one is shown


class Shown:
    """Mixin of generators: ``repr`` and ``_repr_html_``."""

    def __repr__(self: Generator) -> str:
        slots = "1 slot" if len(self.layers) == 1 else f"{len(self.layers)} slots"
        what = f"{_name(self)}{_size(self)} pictures of codes of {self.dim} numbers, {slots}, {self.id}"
        return f"{type(self).__name__}({what})"

    def _repr_html_(self: Generator) -> str:
        """Its facts as a table, over the pictures of seeds 0 ... 3."""
        facts: dict[str, object] = {
            "name": getattr(self, "name", ""),
            "id": self.id,
            "pictures": _size(self),
            "codes": f"{self.dim} numbers, of a latent of {self.z_dim}",
            "slots": f"{len(self.layers)}: {few(self.layers)}",
            "classes": getattr(self, "labels", 0),
        }
        try:
            shown = pictures_html(self.decode(self.sample_codes(range(4 if self.resolution <= _QUICK else 1))))
        except (LatentEditError, RuntimeError) as error:
            facts["no pictures"], shown = str(error).splitlines()[0], ""
        return facts_html(type(self).__name__, {name: fact for name, fact in facts.items() if fact}) + shown


def _size(generator: Generator) -> str:
    height, width = picture_size(generator)
    return f"{width} x {height}"


def _name(generator: Generator) -> str:
    name = getattr(generator, "name", "")
    return f"{name!r}, " if name else ""

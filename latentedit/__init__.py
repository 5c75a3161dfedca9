"""latentedit: sliders for pretrained image generators, found afterwards in their latent space."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; _HOME says the same to Python
    from latentedit.directions.bank import DirectionBank as DirectionBank
    from latentedit.directions.direction import Direction as Direction
    from latentedit.directions.edits import Edit as Edit
    from latentedit.directions.finder import fit_directions as fit_directions
    from latentedit.directions.finder import register_finder as register_finder
    from latentedit.directions.moments import Moments as Moments
    from latentedit.directions.pairs import TagPair as TagPair
    from latentedit.editing.editor import edit as edit
    from latentedit.editing.editors import load_default as load_default
    from latentedit.editing.faces import Faces as Faces
    from latentedit.editing.recipe import Recipe as Recipe
    from latentedit.generators import load_generator as load_generator
    from latentedit.generators import register_generator as register_generator
    from latentedit.metrics.rescoring import rescore as rescore
    from latentedit.pictures.grid import sheet as sheet
    from latentedit.pictures.images import to_pil as to_pil
    from latentedit.prior.prior import Prior as Prior
    from latentedit.prior.settled import Settled as Settled
    from latentedit.prior.transport import Transport as Transport
    from latentedit.samples.sampling import sample as sample
    from latentedit.samples.store import Samples as Samples
    from latentedit.samples.store import open_samples as open_samples
    from latentedit.samples.tagging import tag as tag
    from latentedit.study.report import evaluate as evaluate
    from latentedit.taggers import load_tagger as load_tagger
    from latentedit.taggers import register_tagger as register_tagger

__version__ = "0.1.0"

_HOME = {
    "load_generator": "generators", "register_generator": "generators",
    "load_tagger": "taggers", "register_tagger": "taggers",
    "open_samples": "samples.store", "Samples": "samples.store",
    "sample": "samples.sampling", "tag": "samples.tagging",
    "Moments": "directions.moments", "Direction": "directions.direction", "DirectionBank": "directions.bank",
    "TagPair": "directions.pairs", "fit_directions": "directions.finder", "register_finder": "directions.finder",
    "Edit": "directions.edits", "Prior": "prior.prior", "Settled": "prior.settled", "Transport": "prior.transport",
    "Faces": "editing.faces", "Recipe": "editing.recipe", "edit": "editing.editor", "load_default": "editing.editors",
    "to_pil": "pictures.images", "sheet": "pictures.grid",
    "rescore": "metrics.rescoring", "evaluate": "study.report",
}  # fmt: skip

__all__ = [*_HOME]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Public names are imported when first used, so that ``import latentedit`` stays light."""
        if name not in _HOME:
            raise AttributeError(f"module 'latentedit' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"latentedit.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)

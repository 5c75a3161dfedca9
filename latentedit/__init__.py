"""latentedit: sliders for pretrained image generators, found afterwards in their latent space."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "load_generator": "generators", "register_generator": "generators",
    "load_tagger": "taggers", "register_tagger": "taggers",
    "open_samples": "samples.store", "Samples": "samples.store",
    "sample": "samples.sampling", "tag": "samples.tagging",
    "Moments": "directions.moments", "Direction": "directions.direction", "DirectionBank": "directions.bank",
    "TagPair": "directions.pairs", "fit_directions": "directions.finder", "register_finder": "directions.finder",
    "Edit": "directions.edits", "Prior": "prior.prior", "Settled": "prior.settled", "Transport": "prior.transport",
    "Faces": "editing.faces", "edit": "editing.editor", "load_default": "editing.editors",
    "to_pil": "pictures.images", "sheet": "pictures.grid",
    "rescore": "metrics.rescoring", "evaluate": "study.report",
}  # fmt: skip

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that ``import latentedit`` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module 'latentedit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"latentedit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

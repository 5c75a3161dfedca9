"""Taggers: the contract, the registry and :func:`load_tagger`; one family a file."""

from __future__ import annotations

import torch

from latentedit.registry import Registry, named_device, usable_device
from latentedit.taggers.base import Tagger

TAGGERS = Registry(
    "tagger",
    "latentedit.taggers",
    {
        "avatar": "latentedit.taggers.avatar:load",
        "clip": "latentedit.taggers.clip:load",
        "csv": "latentedit.taggers.labels:load",
        "deepdanbooru": "latentedit.taggers.deepdanbooru:load",
        "judge": "latentedit.taggers.judge:load",
        "onnx": "latentedit.taggers.onnx:load",
        "torch": "latentedit.taggers.custom:load",
    },
)
register_tagger = TAGGERS.register
"""Decorator: registers ``load(argument, options, *, device, dtype) -> Tagger`` under a name."""


def load_tagger(
    name: str = "avatar", *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Tagger:
    """The tagger that ``kind:argument?key=value`` names, frozen, on ``device``.

    Raises:
        LatentEditError: unknown name, or what it names cannot be loaded.
    """
    load, argument, options = TAGGERS.resolve(name)
    place = named_device(device)
    try:
        return load(argument, options, device=place, dtype=dtype)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        usable_device(place)  # or that is what is wrong; taggers that do without torch may use what it does not find
        raise


__all__ = ["TAGGERS", "Tagger", "load_tagger", "register_tagger"]

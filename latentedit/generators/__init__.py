"""Generators: the contract, the registry and :func:`load_generator`; one file a family."""

from __future__ import annotations

import torch

from latentedit.generators.base import Generator
from latentedit.registry import Registry, usable_device

GENERATORS = Registry(
    "generator",
    "latentedit.generators",
    {
        "avatar": "latentedit.generators.avatar:load",
        "gnr": "latentedit.generators.gnr:FAMILY",
        "stylegan2": "latentedit.generators.stylegan2:FAMILY",
        "nvlabs": "latentedit.generators.nvlabs:FAMILY",
        "genforce": "latentedit.generators.genforce:FAMILY",
        "dcgan": "latentedit.generators.dcgan:FAMILY",
        "vae": "latentedit.generators.vae:FAMILY",
        "torch": "latentedit.generators.custom:load",
    },
    advice="; latentedit info {} finds out which",
)
register_generator = GENERATORS.register
"""Decorator: registers ``load(argument, options, *, device, dtype) -> Generator`` under a name."""


def load_generator(
    name: str = "avatar", *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """The generator that ``kind:argument?key=value`` names, frozen, on ``device``.

    Args:
        name: ``avatar`` (bundled), ``KIND:FILE`` for the families of ``docs/generators.md``,
            ``torch:package.module:factory``, or another registered kind.
        device: as in torch.
        dtype: of the weights; pictures are always float32.

    Raises:
        LatentEditError: unknown name, or what it names cannot be loaded.
    """
    load, argument, options = GENERATORS.resolve(name)
    return load(argument, options, device=usable_device(device), dtype=dtype)


__all__ = ["GENERATORS", "Generator", "load_generator", "register_generator"]

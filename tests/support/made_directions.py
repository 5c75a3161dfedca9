"""Directions, a bank and codes that are made up: 16 numbers, two slots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from toy import ToyGenerator

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.generators.probe import look_at

D = 16
SLOTS = ("a", "b")
MINE = "directions/mine.safetensors"
"""Where a user's own are found without being named."""


def direction(tag: str = "long_hair", seed: int = 0, sigma: float = 0.7, **changes) -> Direction:  # type: ignore[no-untyped-def]
    vector = torch.from_numpy(np.random.default_rng(seed).standard_normal(changes.pop("shape", (D,)))).double()
    values = {"generator_id": "toy:1", "layers": SLOTS, "coefficient_norm": 2.0, "finder": "linear"} | changes
    return Direction(tag=tag, vector=(vector / vector.norm()).float(), sigma=sigma, **values)


def bank() -> DirectionBank:
    return DirectionBank([direction(), direction("short_hair", 1, 1.3), direction("smile", 2, 0.1)])


def codes(n: int = 5, *, slots: bool = False) -> torch.Tensor:
    shape = (n, 2, D) if slots else (n, D)
    return torch.from_numpy(np.random.default_rng(9).standard_normal(shape)).float()


def lines(path: str, *tags: str, of: ToyGenerator | None = None) -> Path:
    """A file of directions, made up."""
    generator = of or ToyGenerator()
    random = torch.Generator().manual_seed(len(tags))
    vectors = torch.nn.functional.normalize(torch.randn(len(tags), 16, generator=random), dim=1)
    found = [
        Direction(tag, v, 0.5, generator.id, layers=("a", "b"), coefficient_norm=2.0)
        for tag, v in zip(tags, vectors, strict=True)
    ]
    name = "torch:toy:ToyGenerator" if of is None else "torch:others:make"
    DirectionBank(found, generator_name=name, generator_probe=look_at(generator).probe).save(path)  # type: ignore[arg-type]
    return Path(path)

"""A prior of the toy generator, fitted once a process in two seconds, well enough that every tag moves its score."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from toy import ToyGenerator, ToyTagger

import latentedit as le
from latentedit.prior.fitting import PriorRecipe

RECIPE = PriorRecipe(
    steps=300, codes=500, pictures=200, reading_steps=150, hidden=32, depth=2, batch_size=256, learning_rate=5e-3
)
TINY = PriorRecipe(
    steps=30, codes=200, pictures=50, reading_steps=20, hidden=32, depth=2, batch_size=64, learning_rate=1e-3
)
generator, tagger = ToyGenerator(), ToyTagger()
_KEPT = tempfile.TemporaryDirectory()


@functools.cache
def samples() -> le.Samples:
    """1,000 tagged samples."""
    own = le.load_generator("torch:toy:ToyGenerator")  # so that commands find that its code is the same
    return le.sample(
        own, Path(_KEPT.name) / "samples", tagger=tagger, n=1000, seed=0,
        generator_name="torch:toy:ToyGenerator", tagger_name="torch:toy:ToyTagger",
    )  # fmt: skip


@functools.cache
def prior() -> le.Prior:
    """Fitted to them."""
    return le.Prior.fit(samples(), generator=generator, recipe=RECIPE)


@functools.cache
def saved() -> Path:
    """File of it; not to be changed."""
    path = Path(_KEPT.name) / "prior.safetensors"
    prior().save(path)
    return path


def codes(n: int = 24) -> Tensor:
    """Codes (n, 16) that it was not fitted to."""
    return generator.sample_codes(range(500_000, 500_000 + n))


def scores(of: Tensor, tag: str) -> Tensor:
    """The tagger's scores (n,) of the pictures of codes."""
    return tagger.score(generator.decode(of))[:, tagger.tags.index(tag)]


class Thin:
    """The toy generator, its 8 numbers z laid out flat in codes of 64: they fill a thin surface of their space."""

    id, z_dim, dim, layers, resolution = "thin:1", 8, 64, ("w",), 16

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.axes = torch.linalg.qr(torch.randn(64, 8, generator=random))[0].T  # (8, 64)
        self.mean = torch.randn(64, generator=random)

    def map(self, z: Tensor, *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """z (n, 8) to codes (n, 64)."""
        return z.float() @ self.axes + self.mean

    def sample_codes(self, seeds: range, *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Codes (n, 64) of seeds."""
        z = [torch.randn(8, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
        return self.map(torch.stack(z))

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, 64) to the toy generator's pictures."""
        return generator.decode(generator.map((codes - self.mean) @ self.axes.T))

    def off(self, codes: Tensor) -> float:
        """How far codes (n, 64) lie off the surface, at most."""
        x = codes - self.mean
        return float((x - x @ self.axes.T @ self.axes).abs().max())

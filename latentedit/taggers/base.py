"""The contract of a tagger."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Tagger(Protocol):
    """A network that scores pictures against a list of tags."""

    id: str
    """``kind:`` and 12 hexadecimal digits of the weights' hash."""
    tags: tuple[str, ...]
    threshold: float
    """Score from which a tag counts as present."""

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to scores (n, tags) in [0, 1]."""
        ...

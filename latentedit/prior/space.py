"""The space that a flow works in: style codes on their wide principal axes, each of unit variance.

Codes may fill a thin surface of their space (those of GANs N' Roses come from 8 numbers and have 512). Across it there
is nothing to learn and nothing to move, so axes that hardly vary are left out; what an edit adds to a code has no part
there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentedit.errors import LatentEditError

NARROW = 1e-3
"""Axes whose standard deviation is below this share of the widest one's are left out."""


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """Principal axes of codes.

    Attributes:
        mean: (d,) float32.
        axes: (r, d) float32, rows of unit length at right angles, the widest first.
        deviation: (r,) float32, the codes' standard deviation along each.
    """

    mean: Tensor
    axes: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> CodeSpace:
        """The axes of codes (n, d), worked out in float64.

        Raises:
            LatentEditError: codes that do not vary.
        """
        exact = codes.cpu().double()
        mean = exact.mean(0)
        centred = exact - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(codes) - 1))
        deviations = variances.clamp(min=0).sqrt().flip(0)
        wide = deviations > NARROW * deviations[0]
        if len(codes) < 2 or not wide.any():
            raise LatentEditError(f"{len(codes)} codes that do not differ; a prior needs codes that vary")
        return cls(mean.float(), vectors.T.flip(0)[wide].float(), deviations[wide].float())

    @property
    def width(self) -> int:
        """Number r of axes."""
        return len(self.deviation)

    def enter(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to coordinates (n, r) float32 of mean 0 and variance 1."""
        return ((codes.float() - self.mean) @ self.axes.T) / self.deviation

    def step(self, difference: Tensor) -> Tensor:
        """A difference of coordinates (n, r) to what it adds to codes, (n, d)."""
        return (difference * self.deviation) @ self.axes

    def to(self, device: torch.device) -> CodeSpace:
        """The same elsewhere."""
        return CodeSpace(self.mean.to(device), self.axes.to(device), self.deviation.to(device))

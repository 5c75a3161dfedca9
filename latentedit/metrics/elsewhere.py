"""Elsewhere: how much a picture changes outside what its edit is about.

No tag sees that a hairstyle changed while a mouth was opened; a person does. What an edit is about is the quarter of
the picture where, over many faces, it changes most; the mean absolute change of the pixels outside of it, a face, is
what it should not have done. A region of one's own may stand in its place.

Changes are kept as means over at most 32 x 32 cells, so that the numbers are those of the pixels where a side is a
multiple of 32 (or below it), and close elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from latentedit.errors import LatentEditError
from latentedit.metrics.intervals import NOTHING, Estimate, estimate, share_of, worst_mean

CELLS = 32
ABOUT = 0.25
"""Share of the picture that an edit may be about."""
TOO_MUCH = 0.08
"""Mean absolute change, of values in [-1, 1], from which a person sees another picture."""


def change_of(before: Tensor, after: Tensor) -> np.ndarray:
    """Mean absolute change (n, h, w) float32 in [0, 2], over colours and cells, of pictures (n, 3, H, W) in [-1, 1].

    h and w are 32, or the picture's side where that is smaller.
    """
    change = (after.float() - before.float()).abs().mean(1, keepdim=True)  # (n, 1, H, W)
    h, w = change.shape[-2:]
    cells: np.ndarray = F.adaptive_avg_pool2d(change, (min(CELLS, h), min(CELLS, w)))[:, 0].cpu().numpy()
    return cells


def about(changes: np.ndarray, share: float = ABOUT) -> np.ndarray:
    """What an edit is about, (h, w) bool: the share of the cells where it changes most, over changes (n, h, w)."""
    mean = changes.mean(0, dtype=float)
    most = np.argsort(-mean, axis=None, kind="stable")[: round(share * mean.size)]
    found = np.zeros(mean.size, bool)
    found[most] = True
    return found.reshape(mean.shape)


def cells_of(region: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """A region of a picture, (H, W) bool or weights, as weights (h, w) of its cells in [0, 1].

    Raises:
        LatentEditError: no region of a picture.
    """
    region = np.asarray(region, np.float32)
    if region.ndim != 2 or not region.size:
        raise LatentEditError(f"a region has shape {region.shape}; give (height, width), 1 where it is looked at")
    found: np.ndarray = F.adaptive_avg_pool2d(Tensor(region)[None, None], cells)[0, 0].numpy()
    return found


def rows_of(height: int, width: int, first: int, stop: int) -> np.ndarray:
    """The region (height, width) bool of rows ``first`` to ``stop - 1``, such as 0 to 40 of 128 for the hair.

    Raises:
        LatentEditError: no such rows.
    """
    if not 0 <= first < stop <= height:
        raise LatentEditError(f"rows {first} to {stop} of a picture of {height}; give 0 <= first < stop <= {height}")
    found = np.zeros((height, width), bool)
    found[first:stop] = True
    return found


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """How much pictures change elsewhere.

    Attributes:
        values: (n,) float64, each face's mean absolute change there, in [0, 2].
        where: (h, w) weights of the cells that were looked at.
        groups: (n,) which faces are resampled together; None: each alone.
        n_boot: bootstrap repetitions.
    """

    values: np.ndarray
    where: np.ndarray
    groups: np.ndarray | None = None
    n_boot: int = 1000

    @property
    def mean(self) -> Estimate:
        """Mean over the faces."""
        return estimate(self.values, n_boot=self.n_boot, groups=self.groups) if len(self.values) else NOTHING

    @property
    def worst_tenth(self) -> Estimate:
        """Mean over the tenth of the faces that change most."""
        return worst_mean(self.values, 0.1, n_boot=self.n_boot, groups=self.groups) if len(self.values) else NOTHING

    @property
    def too_much(self) -> Estimate:
        """Share of the faces that change by more than 0.08."""
        return share_of(self.values > TOO_MUCH, groups=self.groups) if len(self.values) else NOTHING

    def worst(self, count: int = 8) -> np.ndarray:
        """Indices of the faces that change most, the worst first."""
        return np.argsort(-self.values, kind="stable")[:count]


def measure_elsewhere(
    changes: np.ndarray,
    *,
    region: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    n_boot: int = 1000,
) -> Elsewhere:
    """How much each face changes outside what the edit is about, or within a region of one's own.

    Args:
        changes: (n, h, w) of one edit, from :func:`change_of`.
        region: where to look, (H, W) bool of the picture, such as ``rows_of(128, 128, 0, 40)``; None: everywhere but
            the quarter of the picture where these changes are largest in the mean.
        groups: (n,) which faces share a content.
        n_boot: bootstrap repetitions.

    Raises:
        LatentEditError: an empty region, or one of another kind.
    """
    n, h, w = changes.shape
    if not n:
        return Elsewhere(np.zeros(0), np.zeros((h, w)), groups, n_boot)
    where = (~about(changes)).astype(float) if region is None else cells_of(region, (h, w)).astype(float)
    if not where.sum():
        raise LatentEditError("the region to look at is empty; mark at least one pixel of it")
    values = np.einsum("nhw,hw->n", changes.astype(float), where) / where.sum()
    return Elsewhere(values, where, groups, n_boot)

"""Least squares with intercept: how the tag's target grows with the code.

The coefficients are ``C^+ c`` with the codes' covariance C and the covariance c of code and target (the
normal equations; Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd ed., eq. 3.6, on
centred rows). Sampled style codes may lie on a surface of few dimensions, where C is close to singular:
directions of code space with a variance below ``cutoff`` of the largest are left out, which also makes the
answer the one of minimum norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from latentedit.directions.direction import Direction
from latentedit.directions.finder import make_directions
from latentedit.directions.held_out import held_out
from latentedit.directions.moments import Moments
from latentedit.directions.statistics import Array
from latentedit.errors import LatentEditError


@dataclass(frozen=True)
class Linear:
    """Directions by least squares, O(d^3 + d^2 t).

    Attributes:
        cutoff: eigenvalues of the codes' covariance below this share of the largest are taken as zero.
    """

    cutoff: float = 1e-6

    name: ClassVar[str] = "linear"
    needs: ClassVar[str] = "moments"

    def fit(self, source: Moments, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """One direction per tag of the moments, or of ``tags``.

        Raises:
            UnknownNameError: not a tag of the moments.
            LatentEditError: a cutoff outside 0 ... 1, or no rows.
        """
        if not 0 <= self.cutoff < 1:
            raise LatentEditError(f"cutoff is {self.cutoff}; give 0 <= cutoff < 1")
        source.columns(tags)
        if not source.count:
            raise LatentEditError("these moments hold no rows; add some with update()")
        whole = source.whole
        coefficients = least_squares(whole.c_xx, whole.full_xy, self.cutoff)
        scores = held_out(source, lambda train: least_squares(train.c_xx, train.full_xy, self.cutoff))
        params = [{"cutoff": self.cutoff}] * len(source.tags)
        return make_directions(source, coefficients, finder=self.name, params=params, scores=scores, tags=tags)


def least_squares(c_xx: Array, c_xy: Array, cutoff: float) -> Array:
    """Minimum-norm coefficients (d, t) from centred sums c_xx (d, d) and c_xy (d, t)."""
    values, u = np.linalg.eigh(c_xx)  # (d,) rising, (d, d)
    keep = values > max(cutoff, len(values) * np.finfo(np.float64).eps) * values[-1]
    u = u[:, keep]  # (d, r)
    return u @ ((u.T @ c_xy) / values[keep, None])

"""SVD of the codes that carry a tag: the direction along which they lie.

The study takes the first right singular vector of the matrix whose rows are the tagged codes, about the
origin. Where the codes' mean is far from the origin that vector is mostly the mean itself; ``centred=True``
subtracts the mean of all codes first, so that the vector tells how tagged codes *differ*. The singular
vector is the leading eigenvector of the second moment (Golub & Van Loan, "Matrix Computations", 4th ed.,
section 8.6), hence moments are enough. Its sign makes tagged codes project higher than the average code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from latentedit.directions.direction import Direction
from latentedit.directions.finder import make_directions
from latentedit.directions.held_out import held_out, line_fit
from latentedit.directions.moments import Moments
from latentedit.directions.statistics import Array
from latentedit.errors import LatentEditError


@dataclass(frozen=True)
class SVD:
    """Directions by singular value decomposition, O(t d^3).

    Attributes:
        centred: about the mean of all codes that have a label instead of the origin (the study).
    """

    centred: bool = False

    name: ClassVar[str] = "svd"
    needs: ClassVar[str] = "moments"

    def fit(self, source: Moments, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """One direction per tag of the moments, or of ``tags``; tags that no row carries are left out.

        Raises:
            UnknownNameError: not a tag of the moments.
            LatentEditError: no rows.
        """
        columns = source.columns(tags)
        if not source.count:
            raise LatentEditError("these moments hold no rows; add some with update()")
        means = source.whole.mean_x_of  # (d, t)
        vectors = np.zeros((source.dim, len(source.tags)))
        params: list[dict[str, object]] = [{}] * len(source.tags)
        for j in columns:
            rows = source.tagged(source.tags[j])
            if rows.count:
                mean = means[:, j]
                v, share = leading_vector(rows.about(mean if self.centred else np.zeros(source.dim)))
                vectors[:, j] = towards(v, rows.mean_x - mean)
                params[j] = {"centred": self.centred, "share_of_squares": share}
        scores = held_out(source, lambda train: line_fit(vectors, train))
        return make_directions(
            source, vectors, finder=self.name, params=params, scores=scores, tags=tags, unit_coefficients=True
        )


def leading_vector(second_moment: Array) -> tuple[Array, float]:
    """Leading eigenvector (d,) of a second moment (d, d), and its share of the sum of squares."""
    values, u = np.linalg.eigh(second_moment)  # (d,) rising, (d, d)
    total = values.sum()
    if not total > 0:
        return np.zeros(len(values)), 0.0
    return u[:, -1], float(values[-1] / total)


def towards(v: Array, difference: Array) -> Array:
    """v or -v, whichever points along a difference of means; largest-magnitude entry positive when neither does."""
    along = v @ difference
    return v * np.sign(along or v[np.abs(v).argmax()] or 1.0)

"""Count, means and centred sums of rows, and of two lots of rows together; what :mod:`.moments` is made of.

A target may be missing (NaN). Its row still counts for the sums of codes, and for that target's own sums it is not
there. Where targets are missing at random, ``c_xy / count_y`` is the covariance that all rows would have, up to what
fewer rows leave to chance; :attr:`Statistics.full_xy` is that on the scale of ``c_xx``. Nothing is assumed, and no
bit differs, where none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Count, means and centred sums of some rows; the arrays are read-only.

    Attributes:
        count: n, number of rows.
        mean_x: (d,) mean code.
        c_xx: (d, d) centred sum of x x^T; ``c_xx / count`` is the (population) covariance.
        mean_y: (t,) mean target.
        c_xy: (d, t) centred sum of x y.
        c_yy: (t,) centred sum of y y, per tag.
        count_y: (t,) rows whose target is known; mean_y, c_xy and c_yy are of these.
        offset_x: (d, t) mean code of these rows, less mean_x; 0 where no target is missing.
    """

    count: int
    mean_x: Array
    c_xx: Array
    mean_y: Array
    c_xy: Array
    c_yy: Array
    count_y: NDArray[np.int64]
    offset_x: Array

    def __post_init__(self) -> None:
        for array in (self.mean_x, self.c_xx, self.mean_y, self.c_xy, self.c_yy, self.count_y, self.offset_x):
            array.setflags(write=False)

    @classmethod
    def empty(cls, d: int, t: int) -> Statistics:
        """Of no rows."""
        none, nothing = np.zeros(t, np.int64), np.zeros((d, t))
        return cls(0, np.zeros(d), np.zeros((d, d)), np.zeros(t), nothing, np.zeros(t), none, nothing)

    @property
    def known(self) -> Array:
        """Share (t,) of the rows whose target is known."""
        return self.count_y / max(self.count, 1)

    @property
    def full_xy(self) -> Array:
        """c_xy (d, t) as if the targets of all rows were known: ``c_xy * count / count_y``."""
        return self.c_xy * (self.count / np.maximum(self.count_y, 1))

    @property
    def mean_x_of(self) -> Array:
        """(d, t) mean code of the rows whose target is known."""
        return self.mean_x[:, None] + self.offset_x


@dataclass(frozen=True)
class Tagged:
    """Count, mean (d,) and centred sum of x x^T (d, d) of the rows that carry one tag."""

    count: int
    mean_x: Array
    c_xx: Array

    def about(self, point: Array) -> Array:
        """Sum of (x - point)(x - point)^T, (d, d); ``point`` (d,) is the origin or the mean of all codes."""
        shift = self.mean_x - point  # (d,)
        return self.c_xx + self.count * np.outer(shift, shift)


def summarise(x: Array, y: Array) -> Statistics:
    """Statistics of rows x (n, d) with targets y (n, t), NaN where one is missing, by two passes over them."""
    n, t = y.shape
    missing = np.isnan(y)
    count_y, partial = n - missing.sum(0), missing.any(0)  # (t,), (t,)
    known = np.maximum(count_y, 1)
    mean_x, mean_y = x.mean(0), np.where(missing, 0, y).sum(0) / known
    xc, yc = x - mean_x, np.where(missing, 0, y - mean_y)  # (n, d), (n, t)
    offset = np.zeros((x.shape[1], t))
    offset[:, partial] = -(xc.T @ missing[:, partial]) / known[partial]  # xc sums to 0
    offset[:, count_y == 0] = 0
    return Statistics(n, mean_x, xc.T @ xc, mean_y, xc.T @ yc, np.square(yc).sum(0), count_y, offset)


def combine(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of the rows of a and of b together (Chan, Golub & LeVeque 1983, eq. 2.1), O(d^2 + d t)."""
    if not a.count or not b.count:
        return a if a.count else b
    n, n_y = a.count + b.count, a.count_y + b.count_y  # (), (t,)
    weight = a.count * b.count / n
    known = np.maximum(n_y, 1)
    weight_y = a.count_y * b.count_y / known  # (t,)
    dx, dx_of, dy = b.mean_x - a.mean_x, b.mean_x_of - a.mean_x_of, b.mean_y - a.mean_y  # (d,), (d, t), (t,)
    mean_x = (a.count * a.mean_x + b.count * b.mean_x) / n
    mean_x_of = (a.count_y * a.mean_x_of + b.count_y * b.mean_x_of) / known
    return Statistics(
        count=n,
        mean_x=mean_x,
        c_xx=a.c_xx + b.c_xx + weight * np.outer(dx, dx),
        mean_y=(a.count_y * a.mean_y + b.count_y * b.mean_y) / known,
        c_xy=a.c_xy + b.c_xy + weight_y * (dx_of * dy),
        c_yy=a.c_yy + b.c_yy + weight_y * np.square(dy),
        count_y=n_y,
        offset_x=np.where(n_y > 0, mean_x_of - mean_x[:, None], 0),
    )

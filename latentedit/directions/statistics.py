"""Count, means and centred sums of rows, and of two lots of rows together; what :mod:`.moments` is made of."""

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
    """

    count: int
    mean_x: Array
    c_xx: Array
    mean_y: Array
    c_xy: Array
    c_yy: Array

    def __post_init__(self) -> None:
        for array in (self.mean_x, self.c_xx, self.mean_y, self.c_xy, self.c_yy):
            array.setflags(write=False)


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
    """Statistics of rows x (n, d) with targets y (n, t), by two passes over them."""
    n = len(x)
    mean_x, mean_y = x.mean(0), y.mean(0)
    xc, yc = x - mean_x, y - mean_y  # (n, d), (n, t)
    return Statistics(n, mean_x, xc.T @ xc, mean_y, xc.T @ yc, np.square(yc).sum(0))


def combine(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of the rows of a and of b together (Chan, Golub & LeVeque 1983, eq. 2.1), O(d^2 + d t)."""
    if not a.count or not b.count:
        return a if a.count else b
    n = a.count + b.count
    weight = a.count * b.count / n
    dx, dy = b.mean_x - a.mean_x, b.mean_y - a.mean_y
    return Statistics(
        count=n,
        mean_x=(a.count * a.mean_x + b.count * b.mean_x) / n,
        c_xx=a.c_xx + b.c_xx + weight * np.outer(dx, dx),
        mean_y=(a.count * a.mean_y + b.count * b.mean_y) / n,
        c_xy=a.c_xy + b.c_xy + weight * np.outer(dx, dy),
        c_yy=a.c_yy + b.c_yy + weight * np.square(dy),
    )
